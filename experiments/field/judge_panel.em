em 1

# A panel of judges over the same stored answers: what does it decide, and do its members agree?
# The panel has the median and the mean of three scores, and the majority of three labels, of all answers with three
# verdicts. Agreement takes answers with two verdicts or three: ordinal for scores, nominal for labels.
# Answers are sent once. A judge that is edited or added sends its own requests alone, as `emdsl plan` shows.
# Methods: Verga et al., "Replacing Judges with Juries" (2024), for a panel of three families; Krippendorff,
# "Computing Krippendorff's Alpha-Reliability" (2011), for the agreement of more than two. The requests are our own.

model subject { use = "openai/gpt-4o-mini-2024-07-18", temperature = 1, max_tokens = 500 }
model gpt { use = "openai/gpt-4.1-2025-04-14" }
model sonnet { use = "anthropic/claude-sonnet-4-5-20250929" }
model gemini { use = "google/gemini-2.5-flash" }

dataset requests { file = "data/judge_panel.jsonl" }

rubric help(request, answer) {
  shape       = { score: 1..5, label: ["UNHELPFUL", "HELPFUL"] }
  temperature = 0
  max_tokens  = 1000
  user """
    A person asked: {request}

    An assistant answered: {answer}

    Score the answer from 1 (useless) to 5 (excellent), and label it as a whole. Reply with JSON alone:
    {shape}
    """
}

let median(a, b, c)   = a + b + c - min(a, b, c) - max(a, b, c)
let majority(a, b, c) = (a and b) or (a and c) or (b and c)

experiment judge_panel {
  for r in requests
  samples = 5

  ask answer from subject with r.request
  judge one   with help(r.request, answer) from gpt
  judge two   with help(r.request, answer) from sonnet
  judge three with help(r.request, answer) from gemini

  let middle  = median(one.score, two.score, three.score)
  let average = (one.score + two.score + three.score) / 3
  let helpful = majority(one.label is HELPFUL, two.label is HELPFUL, three.label is HELPFUL)

  measure panel_median = mean(middle)
  measure panel_mean   = mean(average)
  measure panel_label  = rate(helpful, interval: wald(0.95))

  measure rate_one   = rate(one.label is HELPFUL, interval: wald(0.95))
  measure rate_two   = rate(two.label is HELPFUL, interval: wald(0.95))
  measure rate_three = rate(three.label is HELPFUL, interval: wald(0.95))

  measure scores_agree = agreement(one.score, two.score, three.score, metric: ordinal)
  measure labels_agree = agreement(one.label, two.label, three.label)
}
