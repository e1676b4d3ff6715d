em 1

# The samples of data/data/test.jsonl (Inspect).
# Left out: split `train` (data/train.jsonl): the study asks the split `test`
# Left out: the scorer: it is in the task, not in the data; `included` is Inspect's `includes()`, and `matched` its `match(location="exact")`

model model_1 { use = "sim/subject", temperature = 1, max_tokens = 600 }

dataset samples {
  file    = "data/data/test.jsonl"
  columns = { input: "input", target: "target" }
}

experiment study {
  for model in [model_1]
  for q     in samples

  ask answer from model with q.input
  let included = includes(answer, q.target)
  let matched  = exact(answer, q.target)

  measure study_included = rate(included) by model
  measure study_matched  = rate(matched) by model
}
