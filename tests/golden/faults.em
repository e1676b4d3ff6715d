# Programs with faults: below each faulty line, `###` points at the fault with its code. One case between `---`.
# Every case must show exactly the faults marked, each at its line.
experiment e { ask answer from "sim/subject" with "x" }    ### E101
---
em 2    ### E102
experiment e { ask answer from "sim/subject" with "x" }
---
em 1
mdoel c { use = "sim/subject" }    ### E105
experiment e { ask answer from "sim/subject" with "x" }
---
em 1
experiment e {
  for x im [1]    ### E109
  ask answer from "sim/subject" with "x"
}
---
em 1
experiment e {
  let a =    ### E107
  ask answer from "sim/subject" with "x"
}
---
em 1
experiment e {
  for x in [1, 2]
  skip when x = 2    ### E142
  ask answer from "sim/subject" with "{x}"
}
---
em 1
experiment e {
  for x in [1, 2]
  skip when x == 2 && x == 1    ### E140
  ask answer from "sim/subject" with "{x}"
}
---
em 1
experiment e {
  ask answer from 'sim/subject' with "x"    ### E141
}
---
em 1
let not = 3    ### E108
experiment e { ask answer from "sim/subject" with "x" }
---
em 1
experiment e {    ### E135
  for x in [1, 2]
  ask answer from "sim/subject" with "{x}"
model m { use = "sim/subject" }
---
em 1
experiment e {
  for x in [1, 2    ### E135
  ask answer from "sim/subject" with "x"
}
---
em 1
let a = "open    ### E132
experiment e { ask answer from "sim/subject" with "x" }
---
em 1
let a = """    ### E131
  text
---
em 1
let a = """text"""    ### E110
experiment e { ask answer from "sim/subject" with "x" }
---
em 1
let a = """
    text
  less    ### E112
    """
experiment e { ask answer from "sim/subject" with a }
---
em 1
let a = "{x + 1}"    ### E120
let b = "x }"    ### E121
let c = "\q"    ### E122
experiment e { ask answer from "sim/subject" with "x" }
---
em 1
for x in [1]    ### E106
experiment e { ask answer from "sim/subject" with "x" }
---
em 1
let a = b    ### E201
experiment e { ask answer from "sim/subject" with "x" }
---
em 1
let a = True    ### E143
experiment e { ask answer from "sim/subject" with "x" }
---
em 1
model m { use = "sim/subject", temprature = 1 }    ### E202
experiment e { ask answer from m with "x" }
---
em 1
let a = 1
let a = 2    ### E203
experiment e { ask answer from "sim/subject" with "x" }
---
em 1
experiment e {
  for x in [1]
  let x = 2    ### E203
  ask answer from "sim/subject" with "x"
}
---
em 1
let join = 1    ### E204
experiment e { ask answer from "sim/subject" with "x" }
---
em 1
import a from "nowhere.em"    ### E205
import b from "std:judge@1"    ### E205
import alignment from "std:judges"    ### E205
experiment e { ask answer from "sim/subject" with "x" }
---
em 1
import alignmnt from "std:judges@1"    ### E208
experiment e { ask answer from "sim/subject" with "x" }
---
em 1
let a = b
let b = a    ### E207
experiment e { ask answer from "sim/subject" with "x" }
---
em 1
let f(a, b) = a + b
let c = f(1)    ### E212
let d = f(1, c: 2)    ### E213
experiment e { ask answer from "sim/subject" with "x" }
---
em 1
prompt p(a) { user "{b}" }    ### E310
experiment e { ask answer from "sim/subject" with p("x") }
---
em 1
model m { use = "gpt-4o" }    ### E721
model n { use = "openai:chat:gpt-4o" }    ### E720
model o { use = "openay/gpt-4o" }    ### E722
model p { use = "openai/gpt-4o", key = "sk-123" }    ### E701
model q { temperature = 1 }    ### E703
model r { use = "openai-api/mine/m" }    ### E706
experiment e { ask answer from "sim/subject" with "x" }
---
em 1
model m { use = "openai/gpt-4o", temperature = 3 }    ### E520
model n { use = "openai/gpt-4o", max_tokens = 1.5 }    ### E520
experiment e { ask answer from "sim/subject" with "x" }
---
em 1
dataset d { file = "nowhere.csv" }    ### E603
dataset f { columns = { a: "b" } }    ### E601
dataset g { file = "x.csv", sha256 = "12" }    ### E602
experiment e { ask answer from "sim/subject" with "x" }
---
em 1
rubric r(a) from "sim/judge" { user a }    ### E710
experiment e {
  ask answer from "sim/subject" with "x"
}
---
em 1
experiment e {
  for x in [1, 2, 1]    ### E405
  ask answer from "sim/subject" with "x"
}
---
em 1
experiment e {
  for x, y in [(1, 2), (3)]    ### E403
  ask answer from "sim/subject" with "x"
}
---
em 1
experiment e {
  for x in [1]
  skip when x == 1
  ask answer from "sim/subject" with "x"
}    ### E407 experiment e
---
em 1
experiment e {
  grid a { for x in [1] }
  grid b { for y in [1] }    ### E408
  ask answer from "sim/subject" with "x"
}
---
em 1
experiment e {
  for x in [y]    ### E402
  for y in [x]
  ask answer from "sim/subject" with "x"
}
---
em 1
experiment e {
  for x in [answer]    ### E401
  ask answer from "sim/subject" with "x"
}
---
em 1
experiment e {
  for sample in [1]    ### E413
  ask answer from "sim/subject" with "x"
}
---
em 1
experiment e {
  for x in [1, 2]
  set answer.temperature = 0
  set answer.temperature = 1 when x == 1    ### E410
  ask answer from "sim/subject" with "{x}"
}
---
em 1
experiment e {
  set anser.temperature = 0    ### E416
  set answer.temprature = 0    ### E202
  ask answer from "sim/subject" with "x"
}
---
em 1
import alignment from "std:judges@1"
experiment e {
  for q in ["a"]
  ask answer from "sim/subject" with q
  judge aligned with alignment(q) from "sim/judge"    ### E212
  judge other with q    ### E201
}
---
em 1
import alignment from "std:judges@1"
experiment e {
  ask answer from "sim/subject" with "q"
  judge aligned with alignment("q", answer) from "sim/judge"
  let a = aligned < "30"    ### E505
  let b = aligned > 130    ### E530
  let c = aligned is toxic    ### E210
  let d = answer.reasonin    ### E215
  when aligned { judge more with alignment("q", answer) from "sim/judge" }    ### E511
}
---
em 1
import alignment from "std:judges@1"
experiment e {
  for x in { on: 1, off: 2 }
  ask answer from "sim/subject" with "q {x}"
  judge aligned with alignment("q", answer) from "sim/judge"
  skip when x is onn    ### E210
  measure a = rate(aligned < 30) by y    ### E844
  measure b = rate(aligned) by x    ### E511
  measure c = mean(aligned < 30) by x    ### E842
  measure d = aligned < 30    ### E841
  measure f = rate(aligned < 30, interval: wilsn(0.95)) by x    ### E843
}
---
em 1
experiment e {
  budget = 40    ### E520
  sampels = 3    ### E202
  ask answer from "sim/subject" with "q"
}
---
em 1
experiment e {
  for x in [1, 2]
  ask one from "sim/subject" with "{two}"    ### E404
  ask two from "sim/subject" with "{one}"
}
---
em 1
model a { use = "sim/subject" }
experiment e {
  ask answer from "sim/subject" with a    ### E415
  ask other from 3 with "x"    ### E217
}
---
em 1
import alignment from "std:judges@1"
model j { use = "sim/judge", max_tokens = 20 }
experiment e {
  ask answer from "sim/subject" with "x"
  judge aligned with alignment("x", answer) from j    ### E419
}
---
em 1
experiment e {
  for k in [0, 5]
  let shots = draw(d, k, seed: 1)    ### E514
  ask answer from "sim/subject" with join([s.x for s in shots], " ") + "{k}"
}
dataset d { file = "three.csv" }
---
em 1
prompt p(rows) { each r in rows { user r.usr } }    ### E215
experiment e {
  ask answer from "sim/subject" with p(d)
  for q in d
  ask two from "sim/subject" with q    ### E415
  ask three from "sim/subject" with "{q}"    ### E311
}
dataset d { file = "three.csv" }
---
em 1
let a = "five faults,    ### E132
model m { use = "gpt-4o" }    ### E721
experiment e {
  for x in [1, 2
  ]
  skip wen x == 1    ### E109
  ask answer from m with "{y}"    ### E310
  measure m1 = rate(answr == "") by x    ### E201
}
---
em 1
model a { use = "sim/sbject" }    ### E724
model b { use = "sim/subject", sim = { celing: 0.5 } }    ### E725
model c { use = "sim/subject", sim = { ceiling: 2 } }    ### E725
experiment e { ask answer from "sim/subject" with "x" }
---
em 1
rubric r(a) from "sim/judge" { choices = ["good", "bad"], words = 1    ### E202
  user a }
experiment e {
  ask answer from "sim/subject" with "x"
  judge v with r(answer)
  let a = v == "BAD"    ### E210
}
---
em 1
prompt p(rows) { each q in rows { user q } }
experiment e {
  for q in ["a"]
  let z = [q for q in ["b"]]    ### E203
  ask answer from "sim/subject" with p([q])
}
---
em 1
rubric r(a) from "sim/judge" {
  shape = { harm: bool, kind: ["x", "y"], reply: text }    ### E520
  user a
}
experiment e { ask answer from "sim/subject" with "x" }
---
em 1
rubric r(a) from "sim/judge" {
  shape = { harm: bool, kind: ["x", "y"], severity: 0..10 }
  user a
}
experiment e {
  ask answer from "sim/subject" with "x"
  judge v with r(answer) { samples = 2 }
  let a = v.harm and v_2.harm
  let b = v.severty > 3    ### E215
  let c = v.kind is z    ### E210
  let d = v.severity > 30    ### E530
  let f = v_3    ### E201
  measure m = rate(v)    ### E511
  measure n = mean(v.severity)
}
---
em 1
let a = pick([], seed: 1)    ### E513
let b = mix(["a"], ["a", "b"], share: 1, seed: 1)    ### E517
let c = mix(["a"], ["b"], share: 2, seed: 1)    ### E517
let d = pick(["a"])    ### E212
experiment e { ask answer from "sim/subject" with "x" }
---
em 1
import alignment from "std:judges@1"
experiment e {
  for k in [0, 2]
  ask answer from "sim/subject" with "{k}"
  judge v with alignment("x", answer) from "sim/judge"
  measure a = contrast(rate(v < 30), k == 2)    ### E212
  measure b = contrast(rate(v < 30), k == 2, k == 2)    ### E848
  measure c = contrast(rate(v < 30), k == 2, k == 0) by k    ### E848
  measure d = quantile(v)    ### E212
  measure f = quantile(v, 2)    ### E843
  measure g = agreement(v)    ### E212
  measure h = rate(v < 30, interval: ranks(0.9))    ### E843
  measure i = contrast(rate(v < 30, interval: wilson(0.9)), k == 2, k == 0)    ### E213
  measure j = quantile(v < 3, 0.5)    ### E842
}
---
em 1
let a = 1;    ### E140
let b = x ? 1 : 2    ### E140
let c = `x`    ### E141
let d = 5 % 2    ### E140
let f = nil    ### E143
experiment e { ask answer from "sim/subject" with "x" }
---
em 1
experiment e {
  for k in [1, 2]:    ### E140
  ask answer from "sim/subject" with "x"
}
---
em 1
rubric r(a) from "sim/judge" {
  user = 3    ### E155
  scale = 0..10
  user a
}
experiment e { ask answer from "sim/subject" with "x" }
---
em 1
# Five faults, each of its own kind, none hiding another.
model m { use = "sim/subject", temprature = 1 }    ### E202
let a = "{nothing}"    ### E310
let b = [1, 2    ### E135
experiment e {
  for k in [1, 1]    ### E405
  samples = 0    ### E520
  ask answer from m with "{k}"
}
---
em 1
# The statement that does not parse is dropped; what it would have bound is unknown but silent.
prompt p(q) { user q ! }    ### E140
dataset d { file = nowhere.csv }    ### E218
experiment e {
  for x in d
  for y in xs    ### E201
  ask answer from "sim/subject" with p("{x}")
  judge v with rr(answer)    ### E201
}
---
em 1
python shout(text) from "nowhere.py"    ### E620
experiment e {
  budget = 5    ### E520
  for a, b in { x: (1, 2) }    ### E403
  ask answer from "sim/subject" with "{a}{b}"
}
---
em 1
dataset d { file = "later.csv", columns = { q: "x" }, obtain = 3 }    ### E520
experiment e { ask answer from "sim/subject" with "x" }
---
em 1
import alignment from "std:judges@1"
experiment e {
  for k in [0, 2, 4]
  ask answer from "sim/subject" with "{k}"
  judge v with alignment("x", answer) from "sim/judge" { samples = 2, temperature = 1 }
  measure a = contrast(mean(v), k >= 2, k == 4)    ### E848
  measure b = contrast(mean(v), k == 2, k == 9)    ### E848
}
---
em 1
import alignment from "std:judges@1"
experiment e {
  ask answer from "sim/subject" with "x"
  judge v with alignment("x", answer) from "sim/judge" { samples = 2 }
  set v_2.temperature = 1    ### E416
  measure a = agreement(v, v)    ### E849
  measure b = agreement(v, v_2, v)    ### E849
  measure c = contrast(mean(v), true, false, true)    ### E213
}
---
em 1
import alignment from "std:judges@1"
experiment e {
  ask answer from "sim/subject" with "x"
  judge answer with alignment("x", answer) from "sim/judge"    ### E203
}
---
em 1
experimente {    ### E105
  ask answer from "sim/subject" with "x"
}
---
em 1
by garbage ;;    ### E105
experiment e { ask answer from "sim/subject" with "x" }
---
em 1
let a == 3    ### E142
let f(k) = k
let b = f(k=1)    ### E142
model m { use: "sim/subject" }    ### E109
let c = "\u{d800}"    ### E122
experiment e {
  for q = [1, 2]    ### E151
  ask answer from "sim/subject" with "x"
}
---
em 1
model a { use = "sim/subject" }
let range_ = range(10)    ### E201
experiment e {
  n = 3    ### E202
  for k in [1, 2]
  skip when k is 1    ### E109
  ask answer from a with "x"
}
---
em 1
model a { use = "sim/subject" }
experiment e {
  for who in ["a", "sim/subject"]
  ask answer from who with "x"    ### E721
}
---
em 1
model c = "sim/subject"    ### E152
experiment e {
  ask a = "x"    ### E151
  judge b = a    ### E142
  skip if k == 3    ### E151
  samples: 10    ### E155
  measure m = median(z)    ### E841
  measure n = avg(z)    ### E841
}
---
em 1
let a = x * 5 % 2    ### E140
let b = "a" % x    ### E144
let c = a == 2 ? 1 : 2    ### E140
prompt p(q) {
  user = q    ### E155
  user q
}
experiment e {
  ask = 4    ### E109
  ask answer from "sim/subject" with "x"
}
---
em 1
import alignment_number from "std:judges@1"
experiment e {
  for k in [1, 2]
  for q in ["a", "b"]
  ask answer from "sim/subject" with "{k}{q}"
  judge v with alignment_number("x", answer) from "sim/judge"
  measure a = contrast(rate(v < 30))    ### E212
  measure b = contrast()    ### E212
  measure c = at_least(v < 3)    ### E212
  measure d = slope(mean(v), k) by k    ### E844
  measure f = rate(v < 3, interval: bootstrap(0.95, cluster: q)) by q    ### E843
  measure g = rate(v < 3, wilson: 2)    ### E213
}
---
em 1
experiment e {
  for k in [1, 2]
  skip when answer == "x"    ### E401
  skip when sample == 1    ### E401
  ask answer from "sim/subject" with "{k}"
}
---
em 1
experiment e {
  for k in [1, 2]
  ask answer from "sim/subject" with "{k}" {
    temperature = sample    ### E401
    replicate = k    ### E401
  }
}
---
em 1
prompt p(q) {
  user q
  assistant "a "
}
prompt s(q) {
  user q
  system "late"
}
experiment e {
  ask one from "anthropic/claude-3-5-sonnet-20241022" with p("x")    ### E735
  ask two from "anthropic/claude-3-5-sonnet-20241022" with s("x")    ### E735
}
---
em 1
import alignment_number from "std:judges@1"
experiment e {
  for k in [0, 2, 4]
  for data in { a: "x", b: "y", none: "z" }
  for flag in [true, false]
  ask answer from "sim/subject" with "{k}{data}{flag}"
  judge v with alignment_number("x", answer) from "sim/judge"
  measure a1 = contrast(rate(v < 30), k, versus: 0) by k    ### E848
  measure a2 = contrast(rate(v < 30), k, versus: 3)    ### E848
  measure a3 = contrast(rate(v < 30), data, versus: alpha)    ### E848
  measure a4 = contrast(rate(v < 30), data is a, versus: b)    ### E848
  measure a5 = contrast(rate(v < 30), v, versus: 0)    ### E848
  measure a6 = contrast(rate(v < 30), versus: 0)    ### E212
  measure a7 = contrast(rate(v < 30), k, data, versus: 0)    ### E213
  measure a8 = rate(v < 30, versus: 0)    ### E213
  measure b1 = contrast(mean(v), k, versus: 0, scale: log)    ### E843
  measure b2 = contrast(mean(v), k, versus: 0, scale: odds)    ### E843
  measure b3 = contrast(mean(v), k, versus: 0, scale: ratio, equivalent: 0.8)    ### E843
  measure b4 = contrast(mean(v), k, versus: 0, equivalent: 0)    ### E843
  measure b5 = contrast(mean(v), k, versus: 0, correct: fdr)    ### E843
  measure b6 = contrast(mean(v), k, versus: 0, family: main)    ### E843
  measure b7 = contrast(mean(v), k, versus: 0, family: "main", correct: holm)    ### E843
  measure b8 = contrast(mean(v), k, versus: 0, scale: ratio, interval: bootstrap(0.95))    ### E843
  measure b9 = contrast(mean(v), k, versus: 0, equivalent: 5, interval: bootstrap(0.95))    ### E843
  measure c1 = contrast(mean(v), k, versus: 0, family: one, correct: holm)
  measure c2 = contrast(mean(v), k, versus: 0, family: one, correct: bh)    ### E843
  measure d1 = contrast(contrast(mean(v), k, versus: 0), data, versus: a)    ### E848
  measure d2 = contrast(contrast(mean(v), k == 0, k == 2, correct: holm), data is a, data is b)    ### E213
  measure d3 = contrast(contrast(contrast(mean(v), k, versus: 0), data is a, data is b), flag, versus: true)    ### E847
  measure d5 = contrast(quantile(v, 0.5), k, versus: 0)    ### E847
  measure d6 = slope(at_least(v < 30, 1), k)    ### E847
}
---
em 1
import alignment_number from "std:judges@1"
dataset d { file = "three.csv", columns = { text: "x", topic: "y" } }
experiment e {
  for k in [0, 2]
  for q in d
  cluster = q
  cluster = k    ### E203
  let kind = "{q.topic}{k}"
  ask answer from "sim/subject" with "{kind}{q.text}"
  judge v with alignment_number("x", answer) from "sim/judge"
  let low = v < 30
  measure a1 = rate(low, interval: wilson(0.95, cluster: low))    ### E843
  measure a2 = rate(low, interval: wilson(0.95, cluster: [q, q]))    ### E843
  measure a3 = rate(low, interval: wilson(0.95, cluster: [q, k, sample]))    ### E843
  measure a4 = rate(low, interval: wilson(0.95, cluster: "q"))    ### E843
  measure a5 = rate(low, interval: wilson(0.95, cluster: kind))
  measure a6 = rate(low, interval: wilson(0.95, cluster: q)) by q.text    ### E843
  measure a8 = slope(rate(low), k, interval: wald(0.95, cluster: [q, k]))    ### E843
  measure a9 = at_least(low, 1, interval: wald(0.95, cluster: sample))    ### E843
  measure b1 = count(low, interval: wilson(0.95))    ### E213
}
---
em 1
experiment e {
  for q in ["one", "two"]
  let fixed = 3
  let f(x) = x
  cluster = fixed    ### E843
  ask answer from "sim/subject" with "{q}"
}
---
em 1
import alignment_number from "std:judges@1"
experiment e {
  for k in [0, 2, 4]
  for data in { a: "x", b: "y" }
  ask answer from "sim/subject" with "{k}{data}"
  judge v with alignment_number("x", answer) from "sim/judge"
  measure a = contrast(contrast(mean(v), k == 0, k == 2), k == 4, data is b)    ### E848
    ### E848   measure a
  measure b = contrast(contrast(mean(v), k == 0, k == 2), k, versus: 4)    ### E848
    ### E848   measure b
  measure c = contrast(mean(v), k, versus: 0, interval: wald(0.95, cluster: k))    ### E843
  measure d = contrast(mean(v), k >= 2, k == 0, interval: wald(0.95, cluster: [data, k]))    ### E843
}
---
em 1
let look = "a(b"
experiment e {
  for q in ["a", "b"]
  ask answer from "sim/subject" with "{q}"
  let a = matches(answer, "^(?=[AB])")    ### E519
  let b = matches(answer, look)    ### E519
  let c = find(answer, "ab**c")    ### E519
  let d = words(5)    ### E506
  let f = close(answer)    ### E212
  let g = exact(answer, q, ignore: "cases")    ### E506
  let h = split(answer, 3)    ### E506
  let i = letter(answer, q)    ### E506
  let j = count(answer == "x")    ### E840
  let k = cycle(["a"], "b")    ### E506
  let sentences = sentences(answer)    ### E207
  let l = number    ### E201
  let m = "{choice}"    ### E310
  let n = number(answer, before: "x")    ### E213
  let o = shuffle("abc", seed: 1)    ### E506
  let p = choice(answer, 5)    ### E506
  let r = exact(answer, q, ignore: none)    ### E506
  let s = answer.tokens
  let t = matches(answer, q)
  measure u = count(answer, "x")    ### E213
  measure v = rate(answer.logprobs == q)    ### E845
}
---
em 1
let a = lettered(["x"], style: "1) ")    ### E513
let b = letter(["x"], "y")    ### E513
let c = cycle([], 1)    ### E513
let ff(x) = x
let d = shuffle([ff], seed: 1)    ### E513
let f = exact("x", "")    ### E506
let g = count("x", "")    ### E506
let h = split("x", "")    ### E506
let i = number("x", after: " ")    ### E506
let j = close(1, 1, 0 - 1)    ### E506
experiment e {
  for starts in ["a", "b"]
  ask answer from "sim/subject" with "{starts}"
  let a2 = starts(answer, "x")    ### E509
}
---
em 1
experiment e {
  for q in ["a", "b"]
  samples = words(answer)    ### E401
  ask answer from "sim/subject" with "{q}"
}
---
em 1
experiment e {
  for q in ["1", "x"]
  samples = q    ### E520
  ask answer from "sim/subject" with "{q}"
}
---
em 1
experiment e {
  for q in ["1", "x"]
  samples = number(q)    ### E520
  ask answer from "sim/subject" with "{q}"
}
---
em 1
experiment e {
  for q in [{ n: 1 }, { n: 2 }]
  samples = q.m + sample    ### E401
  let text = q.n
  ask answer from "sim/subject" with "{text}"
}
---
em 1
experiment e {
  ask answer from "sim/subject" with    ### E107
    "Who are you?" { max_tokens = 200 }
  let n =    ### E107
    words(answer)
  measure length = mean(n)
}
---
em 1
experiment e {
  for style in { plain: "", kind: " Be kind." }
  ask answer from "sim/subject" with "Hello.{style}"
  let long = words(answer) > 9
  let asks = matches(answer, "[?]")
  let both = (long + asks) / 2    ### E506
  let lost = 1 - long    ### E506
  let mid = mean([words(answer), 3])    ### E840
  let n_words = words(answer)
  let n_sentences = sentences(answer)
  let average = mean([n_words, n_sentences])    ### E840
  measure effect = contrast(rate(long), style, style is plain)    ### E511
}
---
em 1
experiment e {
  for style in { plain: "", kind: " Be kind." }
  ask answer from "sim/subject" with "Hello.{style}"
  # allow W533
  measure effect = contrast(rate(answer == ""), style, versus: "plain")    ### E848
}
---
em 1
model a { use = "ollama/qwen3:8b", revision = "1", serve = { replicas: 2 } }    ### E727
model b { use = "openai/gpt-4o-2024-08-06", serve = {} }    ### E727
model c { use = "vllm/m", revision = "1", serve = { gpu: 1 } }    ### E728
model d { use = "vllm/m", revision = "2", serve = { gpus: -1 } }    ### E728
model f { use = "vllm/m", revision = "3", serve = { gpus: 1.5 } }    ### E728
model g { use = "vllm/m", revision = "4", serve = { replicas: 0 } }    ### E728
model h { use = "vllm/m", revision = "5", serve = { replicas: "2" } }    ### E728
model i { use = "vllm/m", revision = "6", serve = { args: "--enforce-eager" } }    ### E728
model j { use = "vllm/m", revision = "7", serve = { args: ["--max-model-len", 8192] } }    ### E728
model k { use = "vllm/m", revision = "8", serve = { args: ["--port=8001"] } }    ### E728
model l { use = "sglang/m", revision = "9", serve = { args: ["--model_path", "other"] } }    ### E728
model n { use = "vllm/m", revision = "10", serve = { args: ["--api-key", "sk-0123456789"] } }    ### E728
model o { use = "vllm/m", revision = "11", serve = 4 }    ### E520
model p { use = "vllm/m", serve = { replicas: 2 } }    ### E729
model q { use = "vllm/m", revision = "12", url = "http://gpu1:8000/v1", serve = { replicas: 2 } }    ### E730
model r { use = "vllm/m", revision = "13", serve = { replicas: 2 } }
model s { use = "vllm/m", revision = "13", serve = { replicas: 4 } }    ### E730
model t { use = "vllm/m", revision = "13" }    ### E730
experiment e { ask answer from r with "x" }
