em 1

# The task of task.yaml (lm-eval).
# Left out: `process_docs` (line 6): the Python function `utils.process` changes the rows: apply it first, and write its result to the file of the dataset
# Left out: `output_type: multiple_choice` (line 4): a study has no log-likelihoods of given texts; the prompt shows the choices and asks for a letter
# Left out: metric `acc_norm`: it has no counterpart here

model model_1 { use = "sim/subject", temperature = 1, max_tokens = 600 }

dataset rows {
  file    = "data/sky.jsonl"
  columns = { question: "question", choices_text: "choices.text", choices_label: "choices.label", answerkey: "answerKey" }
}

prompt asked(question, options) {
  user """
    {question}
    Answer:

    {options}

    End with "Answer: LETTER".
    """
}

let labeled(options, marks, mark) = [options[index] for index in 0..(len(options) - 1) if marks[index] == mark][0]

experiment study {
  for model in [model_1]
  for q     in rows

  let options = q.choices_text
  let shown   = lettered(options)
  ask answer from model with asked(q.question, shown) { temperature = 0 }
  let right   = labeled(options, q.choices_label, q.answerkey)
  let correct = choice(answer, options) == right else false

  measure study_accuracy = rate(correct) by model
}
