em 1

# The task of task.yaml (lm-eval).
# Left out: `output_type: multiple_choice`: a study has no log-likelihoods of given texts; the answer is read as one of the choices

model model_1 { use = "sim/subject", temperature = 1, max_tokens = 600 }

dataset rows {
  file    = "facts_easy_test.parquet"  # allow W601
  columns = { question: "question", choices_0: "choices.0", choices_1: "choices.1", answer: "answer" }
  obtain  = "python -c \"from datasets import load_dataset; load_dataset('made-up/facts', 'easy', split='test').to_parquet('facts_easy_test.parquet')\""
}

dataset demonstrations {
  file    = "facts_easy_dev.parquet"  # allow W601
  columns = { question: "question", choices_0: "choices.0", choices_1: "choices.1", answer: "answer" }
  obtain  = "python -c \"from datasets import load_dataset; load_dataset('made-up/facts', 'easy', split='dev').to_parquet('facts_easy_dev.parquet')\""
}

let labels = ["A", "B"]

let chosen(options, value) = [options[index] for index in 0..(len(options) - 1) if options[index] == "{value}" or "{index}" == "{value}"][0]

prompt asked(demonstrations_text, question, choices_0, choices_1) {
  user """
    The following are questions.

    {demonstrations_text}{question}
    A. {choices_0}
    B. {choices_1}
    Answer:
    """
}

experiment study {
  for model in [model_1]
  for q     in rows

  let shots        = [row for row in demonstrations if row.position < 2]
  let demonstrated = join([join([trim(shot.question), "\nA. ", shot.choices_0, "\nB. ", shot.choices_1, "\nAnswer: ", chosen(labels, shot.answer), "\n\n"]) for shot in shots], "")
  ask answer from model with asked(demonstrated, trim(q.question), q.choices_0, q.choices_1) { choices = labels, read = weighted(top: 20), temperature = 0, max_tokens = 1 }
  let right   = chosen(labels, q.answer)
  let correct = answer.label == right

  measure study_accuracy = rate(correct) by model
}
