"""Lists of any length, classified part by part by many workers; what is done is what lies in the output folder.

inputs.py      a list, folder or Parquet file; videos.py: the paths of some of its rows
job.py         the output folder: a part is so many rows of the list, its result one file with a fixed name
scoring.py     a part's paths -> a table of what a task computes, by predict.py's functions; rows.py
scheduler.py   which piece a free worker gets: retries, bisection, copies of stragglers; no files, no processes
driver.py      the loop between a scheduler and a pool of workers
local_pool.py  workers that are processes of this machine; worker.py is the program of one
ray_pool.py    workers that are actors of Ray
slurm.py       an array of Slurm, each of whose tasks computes its share; spark.py: tasks of Spark
folder.py      the files of a run, in a folder or in a store; compact.py: parts as few large files
memory.py      the bound of a worker's memory
simulation.py  workers of a virtual clock, for tools/plan_dataset.py
dataset.py     one run: fingerprint, lock.py, progress, _SUCCESS
"""
