"""Make the files of this folder anew: `python sample_data/make_sample_data.py`.

A training set of any size: `python -m e2miseg_core.samples OUT --cases N --seed S`.
"""

from pathlib import Path

from e2miseg_core.samples import write_sample

if __name__ == "__main__":
    write_sample(Path(__file__).parent)
