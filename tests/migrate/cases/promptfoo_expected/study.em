em 1

# The prompts and tests of config.yaml (promptfoo).

model model_1 { use = "openai/gpt-4.1-2025-04-14", temperature = 1, max_tokens = 600 }

prompt prompt_1(question) {
  user question
}

experiment study_1 {
  for model in [model_1]
  for t     in [
    { id: "1", question: "What is 2+2?", equals: "4", contains: "four" },
    { id: "2", question: "What is 3+3?", equals: "6", contains: "six" },
  ]

  ask answer from model with prompt_1(t.question)
  let equals   = exact(answer, t.equals, ignore: [])
  let contains = includes(answer, t.contains, ignore: [])
  let passed   = equals and contains

  measure study_1_equals   = rate(equals) by model
  measure study_1_contains = rate(contains) by model
  measure study_1_passed   = rate(passed) by model
}

experiment study_2 {
  for model in [model_1]
  for t     in [
    { id: "3", question: "Name a color" },
  ]

  ask answer from model with prompt_1(t.question)
  let icontains_any = includes(answer, ["red", "blue"])

  measure study_2_icontains_any = rate(icontains_any) by model
}
