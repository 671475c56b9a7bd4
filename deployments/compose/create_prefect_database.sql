-- Run once, by the database image, when its volume is empty. The Prefect server keeps its own tables apart from ours.
CREATE DATABASE prefect;
