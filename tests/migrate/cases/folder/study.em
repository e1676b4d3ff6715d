em 1

# The column `question` of data/data/validation-*.
# Left out: config `small`: the study asks `default`
# Left out: split `train` (data/train-*): the study asks the split `validation`
# Left out: row 2: its `question` is not a text
# Left out: other columns (answer): the study asks, and scores nothing

model model_1 { use = "sim/subject", temperature = 1, max_tokens = 600 }

dataset rows {
  file    = "data/data/validation-*"
  columns = { question: "question" }
}

experiment study {
  for model in [model_1]
  for q     in [row for row in rows if row.position not in [1]]

  ask answer from model with q.question
}
