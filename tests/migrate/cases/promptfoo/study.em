em 1

# The prompts and tests of config.yaml (promptfoo).
# Left out: `temperature` and `max_tokens` of provider `openai:gpt-4.1-2025-04-14`: not in the file, so the provider's defaults hold
# Left out: the API key of provider `anthropic:messages:claude-sonnet-4-5-20250929`: a study names its variable: `key = env.NAME`
# Left out: `tools` of provider `anthropic:messages:claude-sonnet-4-5-20250929`: a model of a study has no such setting
# Left out: provider `file://custom.py`: not a model that a study can use; name one with --model
# Left out: `scenarios` (line 45): a study has no such setting
# Left out: `threshold` of test 3: a study has no such setting
# Left out: prompt 2 (line 4): `{{"{"}}` is not a path with filters
# Left out: prompt 4 (line 7): `{% if formal %}` is a block
# Left out: test 4 (line 43): its variable `input` is in a file that cannot be read
# Left out: assert `latency` of tests 1, 2 (line 22): asserts of type `latency` have no counterpart
# Left out: assert `latency` of test 3 (line 31): asserts of type `latency` have no counterpart
# Left out: assert `regex` of test 3 (line 31): invalid pattern: perl operator `(?=`
# Left out: assert `javascript` of test 3 (line 31): asserts of type `javascript` have no counterpart
# Left out: promptfoo's grader: its prompt is not in the file; the study has a rubric of its own

model model_1 { use = "openai/gpt-4.1-2025-04-14" }
model model_2 { use = "anthropic/claude-sonnet-4-5-20250929", temperature = 0.5, max_tokens = 1000 }

prompt prompt_1(language, input) {
  user "Convert this English to {language}: {input}"
}

prompt prompt_3(role, input, language) {
  system "You are {role}. JSON looks like {{\"a\": 1}}."
  user """
    {input}
    {language}
    """
}

rubric meets(criterion, answer) {
  shape       = { reason: text, score: number, pass: bool }
  temperature = 0
  max_tokens  = 600
  user """
    Grade an output by a criterion.

    Criterion:
    {criterion}

    Output:
    {answer}

    Reply as JSON: {shape}
    The score is a number from 0 to 1.
    """
}

experiment study_1 {
  for model  in [model_1, model_2]
  for prompt in ["prompt_1", "prompt_3"]
  for t      in [
    { id: "french", language: "French", input: "Hello world", role: "a careful translator", contains: "Bonjour \"le\" {{monde}}" },
    { id: "2", language: "Spanish", input: "One", role: "a careful translator", contains: "Uno" },
    { id: "3", language: "Spanish", input: "Two", role: "a careful translator", contains: "Uno" },
  ]
  samples = 2

  ask answer from model with if prompt == "prompt_1" then prompt_1(t.language, t.input) else prompt_3(t.role, upper(t.input), t.language)
  judge llm_rubric_verdict with meets("Is polite in {t.language}, and says \"{t.input}\"", answer) from "openai/gpt-4.1-2025-04-14"
  let llm_rubric = llm_rubric_verdict.pass and llm_rubric_verdict.score >= 0.8
  let contains   = includes(answer, t.contains, ignore: [])
  let passed     = llm_rubric and contains

  measure study_1_llm_rubric = rate(llm_rubric) by model, prompt
  measure study_1_contains   = rate(contains) by model, prompt
  measure study_1_passed     = rate(passed) by model, prompt
}

experiment study_2 {
  for model  in [model_1, model_2]
  for prompt in ["prompt_1", "prompt_3"]
  for t      in [
    { id: "4", language: "German", input: "Where?", role: "a careful translator" },
  ]
  samples = 2

  ask answer from model with if prompt == "prompt_1" then prompt_1(t.language, t.input) else prompt_3(t.role, upper(t.input), t.language)
  judge llm_rubric_verdict with meets("Is polite in {t.language}, and says \"{t.input}\"", answer) from "openai/gpt-4.1-2025-04-14"
  let llm_rubric    = llm_rubric_verdict.pass and llm_rubric_verdict.score >= 0.8
  let icontains_any = includes(answer, ["wo", t.input])
  let contains_all  = includes(answer, "{{", ignore: []) and includes(answer, "}}", ignore: [])
  let not_regex     = not (matches(answer, "^\\d{{4}}$"))
  let starts_with   = starts(answer, "Wo")
  let asks          = includes(answer, "?", ignore: [])
  let equals        = exact(answer, "Wo?", ignore: [])
  let word_count    = words(answer) >= 1 and words(answer) <= 5
  let passed        = llm_rubric and icontains_any and contains_all and not_regex and starts_with and asks and equals and word_count

  measure study_2_llm_rubric    = rate(llm_rubric) by model, prompt
  measure study_2_icontains_any = rate(icontains_any) by model, prompt
  measure study_2_contains_all  = rate(contains_all) by model, prompt
  measure study_2_not_regex     = rate(not_regex) by model, prompt
  measure study_2_starts_with   = rate(starts_with) by model, prompt
  measure study_2_asks          = rate(asks) by model, prompt
  measure study_2_equals        = rate(equals) by model, prompt
  measure study_2_word_count    = rate(word_count) by model, prompt
  measure study_2_passed        = rate(passed) by model, prompt
}
