em 1

# The task of task.yaml (lm-eval).
# Left out: `max_gen_toks`: not in the file; each model of the study has its own `max_tokens`
# Left out: `generation_kwargs.num_beams`: an `ask` has no such setting
# Left out: metric `bleu`: it has no counterpart here
# Left out: filter `vote` (line 4): its function `majority_vote` has no counterpart

model model_1 { use = "sim/subject", temperature = 1, max_tokens = 600 }

dataset rows {
  file    = "data/sums.jsonl"
  columns = { question: "question", answer: "answer" }
}

dataset demonstrations {
  file    = "data/sums.jsonl"
  columns = { question: "question", answer: "answer" }
}

prompt asked(demonstrations_text, question) {
  user """
    Solve {{these}} sums.

    {demonstrations_text}Question: {question}
    Answer:
    """
}

let without_1(text) = replace(text, ",", "")

let without_2(text) = replace(text, "$", "")

let without_3(text) = find(text, "(?s).*#### (.*)") else text

let without_4(text) = find(text, "(?s)^(.*)\\.$") else text

experiment study {
  for model in [model_1]
  for q     in rows

  let shots        = draw([row for row in demonstrations if row.position != q.position], 2, seed: [q, sample])
  let demonstrated = join([join(["Question: ", trim(shot.question), "\nAnswer: ", shot.answer, "\n\n"]) for shot in shots], "")
  ask answer from model with asked(demonstrated, trim(q.question)) { temperature = 0, stop = ["\n\n"] }
  let exact_match_strict_match     = exact(without_4(without_3(without_2(without_1(find(answer, "#### (\\-?[0-9\\.\\,]+)"))))), without_4(without_3(without_2(without_1(q.answer)))), ignore: ["case"]) else false
  let exact_match_flexible_extract = exact(without_4(without_3(without_2(without_1(find(answer, "(-?[$0-9.,]{{2,}})|(-?[0-9]+)", last: true))))), without_4(without_3(without_2(without_1(q.answer)))), ignore: ["case"]) else false

  measure study_exact_match_strict_match     = rate(exact_match_strict_match) by model
  measure study_exact_match_flexible_extract = rate(exact_match_flexible_extract) by model
}
