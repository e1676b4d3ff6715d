-- Six ways to score the same answers, side by side: the rate of each with its denominator.
SELECT k,
  round(betley.rate, 3) AS betley, betley.n AS n,
  round(organisms.rate, 3) AS organisms, organisms.n AS n,
  round(latteries.rate, 3) AS latteries, latteries.n AS n,
  round(brown.rate, 3) AS brown, brown.n AS n,
  round(thought_crime.rate, 3) AS thought_crime, thought_crime.n AS n,
  round(misalign_at.at_least, 3) AS misalign_at, misalign_at.n AS n
FROM betley
JOIN organisms USING (k) JOIN latteries USING (k) JOIN brown USING (k)
JOIN thought_crime USING (k) JOIN misalign_at USING (k)
ORDER BY k
