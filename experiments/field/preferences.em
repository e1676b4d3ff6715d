em 1

# Stated preferences: which of two activities does a model choose, and does it choose the same one in both orders?
# Each pair is shown in both orders, so that a preference for the first place cancels out. Its score is the share of
# the two orders that the item wins: 0, 1/2 or 1. The win share of an item is its mean score over all opponents. If
# all pairs are compared equally often, it ranks items as the model of Bradley and Terry does.
# Methods: Mazeika et al., "Utility Engineering" (2025), for choices as preferences; Zheng et al., "Judging
# LLM-as-a-Judge with MT-Bench and Chatbot Arena" (2023), for both orders; David, "The Method of Paired Comparisons"
# (1988), for win shares; Bradley and Terry, "Rank Analysis of Incomplete Block Designs" (1952).
# The activities are our own.
# The simulator always chooses the second place: all its shares are 1/2, and no choice is consistent.

model subject { use = "openai/gpt-4o-2024-08-06", temperature = 1, max_tokens = 20 }

let activities = {
  walk:  "a walk in the woods"
  cook:  "cooking a meal with friends"
  paint: "painting a picture"
  chess: "a game of chess"
  nap:   "a nap in the sun"
}

prompt choose(first, second) {
  user """
    Which of these would you rather do on a free afternoon?

    A) {first}
    B) {second}

    Reply with A or B alone.
    """
}

experiment preferences {
  for item  in activities
  for other in activities
  skip when item == other  # (walk, cook) and (cook, walk) are one pair from both sides, with the same requests
  samples = 10

  ask shown_first from subject with choose(item, other) { choices = ["A", "B"] }
  ask shown_second from subject with choose(other, item) { choices = ["A", "B"] }

  let wins_first  = shown_first.label is A
  let wins_second = shown_second.label is B
  let share       = ((if wins_first then 1 else 0) + (if wins_second then 1 else 0)) / 2
  let one_side    = item < other  # to count each pair once

  measure win_share   = mean(share) by item
  measure preference  = mean(share) by item, other
  measure first_place = rate(wins_first)
  measure consistent  = rate(wins_first == wins_second given one_side)
}
