"""Train a model.

spark-submit jobs/train.py --conf-file FILE; --help lists every key of the file.
"""

import sys

from sparkml_lsml.jobs.cli import main

if __name__ == "__main__":
    sys.exit(main("train"))
