"""Files of other tools as studies: question files, configs, tasks, datasets. Never guesses what a file means."""
