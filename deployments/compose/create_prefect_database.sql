-- Run once, by the database image, when its volume is empty. The Prefect server keeps its tables apart from ours.
CREATE DATABASE prefect;
