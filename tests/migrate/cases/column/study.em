em 1

# The column `text` of rows.csv.
# Left out: other columns (topic): the study asks, and scores nothing

model model_1 { use = "sim/subject", temperature = 1, max_tokens = 600 }

dataset rows {
  file    = "data/rows.csv"
  columns = { question: "text" }
}

experiment study {
  for model in [model_1]
  for q     in rows

  ask answer from model with q.question
}
