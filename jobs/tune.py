"""Search the Params of a model, and train it with the best.

spark-submit jobs/tune.py --conf-file FILE; --help lists every key of the file.
"""

import sys

from sparkml_lsml.jobs.cli import main

if __name__ == "__main__":
    sys.exit(main("tune"))
