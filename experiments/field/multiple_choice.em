em 1

# Multiple choice: how often is the right option chosen, and does the model prefer one place?
# Each sample of a question has its options in another order. An answer without one clear letter counts as wrong.
# Methods: Hendrycks et al., "Measuring Massive Multitask Language Understanding" (2021), for the form; Zheng et al.,
# "Large Language Models Are Not Robust Multiple Choice Selectors" (2024), for the bias towards a letter; Miller,
# "Adding Error Bars to Evals" (2024), for intervals clustered by question. The questions are our own. Those of MMLU
# have the same fields.

model gpt4o { use = "openai/gpt-4o-2024-08-06", temperature = 1.0, max_tokens = 20 }
model gpt4o_mini from gpt4o { use = "openai/gpt-4o-mini-2024-07-18" }

dataset questions { file = "data/multiple_choice.jsonl" }

prompt asked(question, options) {
  user """
    {question}

    {options}

    Reply with the letter of the right option alone.
    """
}

experiment multiple_choice {
  for model in [gpt4o, gpt4o_mini]
  for q     in questions
  samples = 8
  cluster = q

  let options = shuffle(q.choices, seed: [q, sample])
  let shown   = lettered(options)
  ask answer from model with asked(q.question, shown) { choices = ["A", "B", "C", "D"] }

  let right   = q.choices[q.answer]
  let key     = letter(options, right)      # its letter in this order
  let chosen  = choice(answer, options)     # the option that the answer chooses: `C`, `(C)` or `C) air`
  let correct = chosen == right else false  # an unreadable answer is wrong, a pending one does not count

  measure accuracy   = rate(correct) by model
  measure by_subject = rate(correct) by model, q.subject
  measure unreadable = rate(chosen is unreadable) by model

  # Without a bias, each letter has a quarter of the answers, and the right option is found as often at each letter.
  measure letters  = shares(answer.label) by model
  measure recall_a = rate(correct given key == "A") by model
  measure recall_b = rate(correct given key == "B") by model
  measure recall_c = rate(correct given key == "C") by model
  measure recall_d = rate(correct given key == "D") by model
}
