// Runs under way, and the last one: progress by step, time left, money, failures by cause.

import { html } from "/static/vendor/preact-htm.js";
import { href } from "/static/route.js";
import { count, plural, usd, useData } from "/static/ui.js";

const WINDOW_MS = 60000; // over which the page estimates the pace of a run that does not
const seen = new Map(); // of runs by id: times and numbers of answers

// Seconds until a run ends: its own estimate, or by the pace of the last minute if its version of emdsl has none; null if unknown.
function secondsLeft(run) {
  if (run.eta_s !== undefined) return run.eta_s;
  const now = Date.now();
  const points = (seen.get(run.run) || []).filter(([at]) => now - at < WINDOW_MS);
  const done = run.answered + run.failed;
  if (!points.length || points[points.length - 1][1] !== done) points.push([now, done]);
  seen.set(run.run, points);
  const [first, n] = points[0];
  const pace = now > first ? (done - n) / (now - first) : 0;
  return pace > 0 ? (run.total - done) / pace / 1000 : null;
}

export function duration(seconds) {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function timeLeft(run) {
  if (run.stopping) return "stopping";
  const seconds = secondsLeft(run);
  return seconds === null ? "" : `${duration(seconds)} left`;
}

const spent = (run) => `${usd(run.spent_usd)}${run.of_unknown_cost ? " + ?" : ""}`;
const percent = (run) => Math.min(100, Math.floor((100 * (run.answered + run.failed)) / (run.total || 1)));
const called = (run) => run.file || run.run.slice(0, 8);

// One line for each run, above every screen.
export function Strip({ runs }) {
  if (!runs.length) return null;
  const told = runs.filter((r) => r.reachable).map((r) => `${called(r)}: ${10 * Math.floor(percent(r) / 10)} % done`).join(", ");
  return html`<section class="runs" aria-label="Runs under way"><p class="sr" role="status">${told}</p>
    <ul>${runs.map((run) => html`<li key=${run.run}><strong>${called(run)}</strong>${run.reachable ? html`
      <progress max=${run.total || 1} value=${run.answered + run.failed} aria-label=${`progress of ${called(run)}`}></progress>
      <span>${count(run.answered)} of ${count(run.total)} answered</span>
      ${run.failed ? html`<span class="bad">${count(run.failed)} failed</span>` : null}
      <span>${spent(run)}${run.budget_usd === null ? "" : ` of ${usd(run.budget_usd)}`}</span>
      <span class="faint">${timeLeft(run)}</span>` : html`<span class="faint">starting</span>`}</li>`)}</ul></section>`;
}

// Shares of a whole as a bar: parts are [class, number, name].
export function Bar({ parts, total, label }) {
  const shares = parts.filter(([, n]) => n > 0);
  return html`<span class="stack" role="img" aria-label=${label || shares.map(([, n, name]) => `${count(n)} ${name}`).join(", ") || `0 of ${count(total)}`}>
    ${shares.map(([kind, n, name]) => html`<span key=${name} class=${kind} style=${{ width: `${(100 * n) / (total || 1)}%` }} title=${`${count(n)} ${name}`}></span>`)}</span>`;
}

function Steps({ steps, more }) {
  if (!steps || !steps.length) return null;
  return html`<div class="scroll" tabindex="0" role="region" aria-label="progress by step"><table>
    <thead><tr><th scope="col">step</th><th scope="col"><span class="sr">progress</span></th><th scope="col" class="num">answered</th>
      <th scope="col" class="num">of</th><th scope="col" class="num">failed</th></tr></thead>
    <tbody>${steps.map((s) => html`<tr key=${s.step}><th scope="row">${s.step}</th>
      <td><${Bar} parts=${[["done", s.answered, "answered"], ["failed", s.failed, "failed"]]} total=${s.total} /></td>
      <td class="num">${count(s.answered)}</td><td class="num">${count(s.total)}</td><td class="num">${s.failed ? html`<span class="bad">${count(s.failed)}</span>` : 0}</td></tr>`)}</tbody></table>
    ${more ? html`<p>${count(more)} more step${more === 1 ? "" : "s"}</p>` : null}</div>`;
}

const Fact = ({ name, children }) => html`<div><dt>${name}</dt><dd>${children}</dd></div>`;

function Run({ run }) {
  const left = run.budget_usd === null ? null : Math.max(0, run.budget_usd - run.spent_usd);
  return html`<article><h2>Run under way: ${called(run)}</h2>
    <dl class="facts">
      <${Fact} name="answered">${count(run.answered)} of ${count(run.total)}<//>
      <${Fact} name="failed">${run.failed ? html`<span class="bad">${count(run.failed)}</span>` : 0}<//>
      ${run.retried === undefined ? null : html`<${Fact} name="retried">${count(run.retried)}<//>`}
      <${Fact} name="in flight">${count(run.in_flight)} of ${count(run.connections)}<//>
      <${Fact} name="spent">${spent(run)}<//>
      <${Fact} name="left of the budget">${left === null ? "no budget" : `${usd(left)} of ${usd(run.budget_usd)}`}${run.over_budget ? html` <span class="bad">spent</span>` : null}<//>
      <${Fact} name="time left">${timeLeft(run).replace(/ left$/, "") || "unknown yet"}<//>
      ${run.started_at ? html`<${Fact} name="started">${new Date(run.started_at * 1000).toLocaleTimeString()}<//>` : null}
    </dl>
    <${Steps} steps=${run.steps} more=${run.more_steps} />
    ${run.failures && run.failures.length ? html`<h3>Failures by cause</h3><ul class="causes">${run.failures.map((f) => html`<li key=${f.cause}><strong>${count(f.n)}</strong> ${f.cause}</li>`)}</ul>` : null}
  </article>`;
}

const ENDS = { done: "ended", interrupted: "was interrupted", killed: "was killed" };

// The last run of this study, and which steps have no answer since they failed.
function LastRun({ last, experiments, sql }) {
  const failures = experiments.flatMap((e) => e.failures.map((f) => ({ ...f, experiment: e.name })));
  if (!last && !failures.length) return null;
  const link = (f) => href("rows", [["exp", f.experiment], [`m.${f.step}`, "failed"], ...(sql ? [["where", f.where]] : [])]);
  return html`<article><h2>Last run</h2>
    ${last ? html`<p>Started ${new Date(last.started_at * 1000).toLocaleString()}, ${ENDS[last.end]}${last.ended_at ? ` after ${duration(last.ended_at - last.started_at)}` : ""}:
      ${" "}${plural(last.sent, "request")} sent, ${last.failed ? html`<span class="bad">${count(last.failed)} failed</span>` : "0 failed"}.</p>` : null}
    ${failures.length ? html`<h3>Failed, and without an answer</h3>
      <div class="scroll" tabindex="0" role="region" aria-label="failures by cause"><table>
      <thead><tr><th scope="col">step</th><th scope="col">cause</th><th scope="col" class="num">requests</th><th scope="col" class="num">rows</th></tr></thead>
      <tbody>${failures.map((f) => html`<tr key=${`${f.experiment} ${f.step} ${f.cause}`}><td>${f.step}</td><td class="cause"><a href=${link(f)}>${f.cause}</a></td>
        <td class="num">${count(f.requests)}</td><td class="num">${count(f.rows)}</td></tr>`)}</tbody></table></div>
      <p class="faint">The next run sends them again.</p>` : null}
  </article>`;
}

export function Runs({ study, state, generation }) {
  const able = study.can.includes("runs");
  const runs = state ? state.runs.filter((r) => r.reachable) : [];
  const { data } = useData(able ? "failures" : "", [], [generation, runs.length]);
  return html`${runs.map((run) => html`<${Run} key=${run.run} run=${run} />`)}
    ${data && !runs.some((r) => r.file === data.file) ? html`<${LastRun} last=${data.last_run} experiments=${data.experiments} sql=${study.can.includes("sql")} />` : null}`;
}
