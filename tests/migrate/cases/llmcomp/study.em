em 1

# The questions of questions.yaml, with their judges.
# Left out: judge `other` of story: `judge_of_another_file` is not in this file; llmcomp looks it up in the other files of its folder
# Left out: `samples_per_paraphrase` of liking: its answer is read from probabilities at temperature 0, where samples are alike
# Left out: question `odd` (line 66): `paraphrases` is not a list of texts
# Left out: `logit_bias` of 1 question (story_for_a_child): a study has no such setting

model model_1 { use = "sim/subject", temperature = 1, max_tokens = 1024 }

dataset questions {
  file    = "data/questions.yaml"
  columns = { id: "name", paraphrases: "paraphrases?", system: "system?", messages: "messages?" }
}

prompt chat(system_text, question) {
  when system_text != "" { system system_text }
  user question
}

prompt conversation(messages) {
  each m in messages {
    when m.role == "system" { system m.content }
    when m.role == "user" { user m.content }
    when m.role == "assistant" { assistant m.content }
  }
}

prompt animal_judge(answer) {
  user """
    See the following story: {answer}.
    What animal is it about? Use {{braces}} for "it".
    """
}

rubric quality_judge(question, answer) from "sim/judge" {
  scale       = 1..10
  read        = weighted(top: 20, mass: 0.4)
  temperature = 0
  max_tokens  = 1
  user "My request: {question}. The answer: {answer}. Rate it from 1 to 10, with the number alone."
}

# The labels are the words in quotes in this text.
rubric mood_judge(answer) from "sim/judge" {
  choices     = ["GLAD", "SAD"]
  temperature = 0
  max_tokens  = 16
  user "Is it \"GLAD\" or \"SAD\"? {answer}"
}

experiment study_1 {
  for model in [model_1]
  for q     in [row for row in questions if row.id in ["story", "story_for_a_child"]]
  samples = 6

  let text = cycle(q.paraphrases, sample)
  ask answer from model with chat(q.system, text) { temperature = 0.7 }
  # allow W734: each sample asks about another answer
  ask animal from "sim/judge" with animal_judge(answer) { temperature = 0, max_tokens = 1024 }
  judge quality with quality_judge(text, answer)
  judge mood    with mood_judge(answer)

  measure study_1_quality   = mean(quality) by model, q
  measure study_1_mood_glad = rate(mood is GLAD) by model, q
}

experiment study_2 {
  for model in [model_1]
  for q     in [row for row in questions if row.id in ["liking"]]
  for text  in q.paraphrases

  ask answer from model with chat(q.system, text) { scale = 0..100, read = weighted(top: 20, mass: 0.25), temperature = 0, max_tokens = 1 }

  measure study_2_score = mean(answer.score) by model, q
}

experiment study_3 {
  for model in [model_1]
  for q     in [row for row in questions if row.id in ["next_word"]]
  for text  in q.paraphrases

  ask answer from model with chat(q.system, text) { temperature = 0, max_tokens = 1, extra = { logprobs: true, top_logprobs: 5 } }
  let tokens = answer.logprobs
}

experiment study_4 {
  for model in [model_1]
  for q     in [row for row in questions if row.id in ["talk"]]
  samples = 2

  let messages = cycle(q.messages, sample)
  let text     = messages[len(messages) - 1].content
  ask answer from model with conversation(messages)
}
