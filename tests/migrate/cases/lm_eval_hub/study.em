em 1

# The task of task.yaml (lm-eval).
# Left out: `output_type: multiple_choice` (line 4): a study has no log-likelihoods of given texts; the answer is read as one of the choices

model model_1 { use = "sim/subject", temperature = 1, max_tokens = 600 }

dataset rows {
  file    = "super_glue_boolq_validation.parquet"  # allow W601
  columns = { passage: "passage", question: "question", label: "label" }
  obtain  = "python -c \"from datasets import load_dataset; load_dataset('super_glue', 'boolq', split='validation').to_parquet('super_glue_boolq_validation.parquet')\""
}

prompt asked(passage, question) {
  user """
    {passage}
    Question: {question}?
    Answer:
    """
}

experiment study {
  for model in [model_1]
  for q     in rows

  let options = ["no", "yes"]
  ask answer from model with asked(q.passage, q.question) { choices = ["no", "yes"], read = weighted(top: 20), temperature = 0, max_tokens = 1 }
  let right   = [options[index] for index in 0..(len(options) - 1) if options[index] == "{q.label}" or "{index}" == "{q.label}"][0]
  let correct = answer.label == right

  measure study_accuracy = rate(correct) by model
}
