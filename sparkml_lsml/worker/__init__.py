"""What runs inside a Python worker of an executor: no PySpark is imported here, nor by it."""
