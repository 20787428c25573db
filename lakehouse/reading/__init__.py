"""Reading rows: data files into Arrow batches, with everything applied that a table's metadata says of them.

No format is known here: each plans its own scan (`task.ScanPlan`), and one reader carries it out.
"""
