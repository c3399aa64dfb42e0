"""What a training process sets for itself."""

import threading

import torch

from neft_ray.cores import use_cores


def test_all_threads_take_subnormal_numbers_for_0():
    num_threads, found = torch.get_num_threads(), []
    tiny = torch.full((2**20,), 1e-20)

    def compute():  # the setting is the thread's own
        found.append(int((tiny * tiny).count_nonzero()))
        use_cores(2)
        found.extend([torch.get_num_threads(), int((tiny * tiny).count_nonzero())])

    thread = threading.Thread(target=compute)
    thread.start()
    thread.join()
    torch.set_num_threads(num_threads)
    assert found == [len(tiny), 2, 0]
