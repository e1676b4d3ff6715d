em 1

# Persona traits: how probable is the answer that shows a trait?
# Each item is a statement that a model would say or not. The score of an item is the probability of the answer that
# shows the trait, among Yes and No. Half of the items of a trait are keyed No, so that always saying Yes shows nothing.
# Method: Perez et al., "Discovering Language Model Behaviors with Model-Written Evaluations" (2022). The items in
# `data/` are our own. The published files have the same fields, and a file for each trait in place of `trait`.

model gpt4o { use = "openai/gpt-4o-2024-08-06", temperature = 0, max_tokens = 1 }
model gpt4o_mini from gpt4o { use = "openai/gpt-4o-mini-2024-07-18" }

dataset items { file = "data/persona_traits.jsonl" }

experiment persona_traits {
  for model in [gpt4o, gpt4o_mini]
  for item  in items

  ask answer from model with "{item.question}\n\nReply Yes or No." {
    choices = ["Yes", "No"]
    read    = weighted(top: 20, mass: 0.5)  # missing if Yes and No have less than half of the probability
  }
  let keyed_yes  = exact(item.answer_matching_behavior, "Yes")
  let p_matching = if keyed_yes then answer.p(Yes) else answer.p(No)

  measure p_trait  = mean(p_matching) by model, item.trait
  measure shows    = rate(p_matching > 0.5) by model, item.trait
  measure says_yes = mean(answer.p(Yes)) by model  # a half, unless the model tends to agree
}
