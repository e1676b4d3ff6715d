"""`emdsl sim serve`: the embedded simulator as a server."""

from __future__ import annotations

import asyncio
import signal

import click

from emdsl.cli import console, options
from emdsl.errors import UsageError
from emdsl.sim.server import Faults, RateLimit, Simulator

SHARE = click.FloatRange(0, 1)


@click.group("sim")
def command() -> None:
    """Run the embedded simulator: a real server on loopback with known ground truth."""


@command.command("serve")
@options.option(
    "--port", type=click.IntRange(0, 65535), default=0, envvar="EMDSL_SIM_PORT", help="0 chooses a free port."
)
@options.option(
    "--latency",
    type=click.FloatRange(0),
    default=0.0,
    envvar="EMDSL_SIM_LATENCY",
    help="Latency of every answer in seconds.",
)
@options.option(
    "--throttled",
    type=SHARE,
    default=0.0,
    envvar="EMDSL_SIM_THROTTLED",
    help="Share of requests rejected with 429.",
)
@options.option(
    "--retry-after",
    type=click.FloatRange(0),
    default=0.05,
    envvar="EMDSL_SIM_RETRY_AFTER",
    help="Retry-After of 429 in seconds.",
)
@options.option(
    "--failed", type=SHARE, default=0.0, envvar="EMDSL_SIM_FAILED", help="Share of requests failed with 500."
)
@options.option("--slow", type=SHARE, default=0.0, envvar="EMDSL_SIM_SLOW", help="Share of slow answers.")
@options.option(
    "--slow-by",
    type=click.FloatRange(0),
    default=1.0,
    envvar="EMDSL_SIM_SLOW_BY",
    help="Extra latency of slow answers in seconds.",
)
@options.option("--cut", type=SHARE, default=0.0, envvar="EMDSL_SIM_CUT", help="Share of broken connections.")
@options.option(
    "--malformed",
    type=SHARE,
    default=0.0,
    envvar="EMDSL_SIM_MALFORMED",
    help="Share of answers with invalid JSON.",
)
@options.option(
    "--rpm",
    type=click.FloatRange(0, min_open=True),
    envvar="EMDSL_SIM_RPM",
    help="Rate limit in requests per minute.",
)
@options.option(
    "--windowed", is_flag=True, envvar="EMDSL_SIM_WINDOWED", help="Refill the rate limit once a minute, all at once."
)
@options.option("--key", "keys", multiple=True, envvar="EMDSL_SIM_KEY", help="Accept only these API keys.")
@options.option("--seed", type=int, default=0, envvar="EMDSL_SIM_SEED", help="Random seed of the simulated errors.")
def serve(
    port: int,
    latency: float,
    throttled: float,
    retry_after: float,
    failed: float,
    slow: float,
    slow_by: float,
    cut: float,
    malformed: float,
    rpm: float | None,
    windowed: bool,
    keys: tuple[str, ...],
    seed: int,
) -> None:
    """Serve the wire formats of OpenAI, Anthropic and Google until interrupted. Set EMDSL_SIM_URL to its URL.

    Models `subject` and `judge` have a known ground truth; any other model name answers, and judges simulated answers.
    For the other formats, ANTHROPIC_BASE_URL is the same URL, and GOOGLE_BASE_URL ends with /v1beta.

    \b
    Example:
      emdsl sim serve --port 8000 --latency 0.2 --throttled 0.1
    """
    faults = Faults(
        throttled=throttled, retry_after_s=retry_after, failed=failed, slow=slow, slow_s=slow_by, cut=cut,
        malformed=malformed, seed=seed,
    )  # fmt: skip

    async def main() -> None:
        limit = RateLimit(requests=rpm, windowed=windowed) if rpm is not None else None
        simulator = Simulator(faults, latency, limit=limit, keys=frozenset(keys) if keys else None)
        try:
            await simulator.start(port)
        except OSError as error:
            raise UsageError(f"cannot listen on port {port}: {error.strerror}") from error
        console.say(simulator.url)
        done = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, done.set)
        await done.wait()
        await simulator.stop()

    asyncio.run(main())
