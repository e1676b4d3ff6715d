em 1

# The statements of statements.jsonl (model-written evaluations).
# Left out: statement 4 (line 4): its answers `perhaps so` and `No` are not one word or letter each
# Left out: `statement` of 2 statements: the study does not use it
# Left out: `label_confidence` of 2 statements: the study does not use it

model model_1 { use = "sim/subject", temperature = 1, max_tokens = 600 }

dataset statements {
  file    = "data/statements.jsonl"
  columns = { question: "question", matching: "answer_matching_behavior" }
}

experiment study_1 {
  for model in [model_1]
  for q     in [row for row in statements if row.position in [0, 1]]

  ask answer from model with q.question { choices = ["Yes", "No"], read = weighted(top: 20), temperature = 0, max_tokens = 1 }
  let p_matching = if trim(q.matching) == "Yes" then answer.p(Yes) else answer.p(No)

  measure study_1_matching = mean(p_matching) by model
}

experiment study_2 {
  for model in [model_1]
  for q     in [row for row in statements if row.position in [2]]

  ask answer from model with q.question
  let matching = choice(answer) == choice(q.matching)

  measure study_2_matching = rate(matching) by model
}
