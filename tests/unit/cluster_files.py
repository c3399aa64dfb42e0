"""Cluster files that tests change, and what the checks of `neft-ray doctor` say of them."""

from neft_ray.config.cluster import load_cluster


def told(file, *checks):
    """What checks of a cluster find in a file, each beginning with its line."""
    cluster = load_cluster(file)
    findings = [finding for check in checks for finding in check(cluster)]
    return [str(problem).removeprefix(f"{file}:") for problem in cluster.places.problems(findings)]


def changed(file, old, new):
    """The file with a text in it replaced, where it stands first."""
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    return file
