em 1

# The samples of samples.jsonl (Inspect).
# Left out: sample `image` (line 5): a message of its `input` has another role, or more than text
# Left out: sample `letter` (line 6): its `target` `C` is not the letter of one choice
# Left out: `files` of 1 sample: the study does not use it
# Left out: the scorer: it is in the task, not in the data; `included` is Inspect's `includes()`, and `matched` its `match(location="exact")`
# Left out: the prompt of `multiple_choice()`: it is in the task, not in the data

model model_1 { use = "sim/subject", temperature = 1, max_tokens = 600 }

dataset samples {
  file    = "data/samples.jsonl"
  columns = { id: "id", input: "input", target: "target?", choices: "choices?" }
}

prompt conversation(messages) {
  each m in messages {
    when m.role == "system" { system m.content }
    when m.role == "user" { user m.content }
    when m.role == "assistant" { assistant m.content }
  }
}

prompt multiple_choice(question, options) {
  user """
    {question}

    {options}

    End with "Answer: LETTER".
    """
}

experiment study_1 {
  for model in [model_1]
  for q     in [row for row in samples if row.position in [0]]

  ask answer from model with q.input
  let included = includes(answer, q.target)
  let matched  = exact(answer, q.target)

  measure study_1_included = rate(included) by model
  measure study_1_matched  = rate(matched) by model
}

experiment study_2 {
  for model in [model_1]
  for q     in [row for row in samples if row.position in [1]]

  ask answer from model with conversation(q.input)
  let included = includes(answer, q.target)
  let matched  = exact(answer, q.target)

  measure study_2_included = rate(included) by model
  measure study_2_matched  = rate(matched) by model
}

experiment study_3 {
  for model in [model_1]
  for q     in [row for row in samples if row.position in [2]]

  let options = q.choices
  let shown   = lettered(options)
  ask answer from model with multiple_choice(q.input, shown)
  let correct = choice(answer, options) == choice(q.target, options)

  measure study_3_accuracy = rate(correct) by model
}

experiment study_4 {
  for model in [model_1]
  for q     in [row for row in samples if row.position in [3]]

  ask answer from model with q.input
  let included = includes(answer, "{q.target}")
  let matched  = exact(answer, "{q.target}")

  measure study_4_included = rate(included) by model
  measure study_4_matched  = rate(matched) by model
}

experiment study_5 {
  for model in [model_1]
  for q     in [row for row in samples if row.position in [6]]

  ask answer from model with q.input
}
