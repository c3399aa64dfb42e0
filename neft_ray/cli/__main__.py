"""`python -m neft_ray.cli`, the same as `neft-ray`."""

from neft_ray.cli import main

if __name__ == "__main__":
    main()
