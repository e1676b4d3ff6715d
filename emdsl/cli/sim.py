"""`emdsl sim serve`: the embedded simulator as a server."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import click

from emdsl.cli import console, options
from emdsl.errors import UsageError
from emdsl.sim.server import Faults, RateLimit, Simulator

SHARE = click.FloatRange(0, 1)


@click.group("sim")
def command() -> None:
    """Run the embedded simulator: a real server on loopback with known ground truth."""


def _share(name: str, help: str) -> options.Decorator:
    """Return the option of a fault; its variable is named after `sim`."""
    variable = f"EMDSL_SIM_{name.removeprefix('--').replace('-', '_').upper()}"
    return options.option(name, type=SHARE, default=0.0, envvar=variable, help=help)


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
@_share("--throttled", "Share of requests rejected with 429.")
@options.option(
    "--retry-after",
    "retry_after_s",
    type=click.FloatRange(0),
    default=0.05,
    envvar="EMDSL_SIM_RETRY_AFTER",
    help="Retry-After of 429 in seconds.",
)
@_share("--failed", "Share of requests failed with 500.")
@_share("--slow", "Share of slow answers.")
@options.option(
    "--slow-by",
    "slow_s",
    type=click.FloatRange(0),
    default=1.0,
    envvar="EMDSL_SIM_SLOW_BY",
    help="Extra latency of slow answers in seconds.",
)
@_share("--cut", "Share of broken connections.")
@_share("--malformed", "Share of answers with invalid JSON.")
@options.option(
    "--rpm",
    type=click.FloatRange(0, min_open=True),
    envvar="EMDSL_SIM_RPM",
    help="Rate limit in requests per minute.",
)
@options.option(
    "--windowed", is_flag=True, envvar="EMDSL_SIM_WINDOWED", help="Refill the rate limit once a minute, all at once."
)
@options.option(
    "--batch-seconds",
    type=click.FloatRange(0),
    default=2.0,
    envvar="EMDSL_SIM_BATCH_SECONDS",
    help="Time from the creation of a batch to its end.",
)
@_share("--batch-expired", "Share of requests in batches that expire; of batches for Google.")
@_share("--batch-failed", "Share of requests in batches failed with 500.")
@_share("--batch-throttled", "Share of requests in batches rejected with 429.")
@_share("--batch-repeated", "Share of results of batches that are there twice.")
@_share("--batch-lost", "Share of created batches whose reply is lost.")
@options.option("--key", "keys", multiple=True, envvar="EMDSL_SIM_KEY", help="Accept only these API keys.")
@options.option("--seed", type=int, default=0, envvar="EMDSL_SIM_SEED", help="Random seed of the simulated errors.")
def serve(
    port: int,
    latency: float,
    rpm: float | None,
    windowed: bool,
    batch_seconds: float,
    keys: tuple[str, ...],
    **faults: Any,
) -> None:
    """Serve the wire formats of OpenAI, Anthropic and Google until interrupted. Set EMDSL_SIM_URL to its URL.

    Models `subject` and `judge` have a known ground truth; any other model name answers, and judges simulated answers.
    For the other formats, ANTHROPIC_BASE_URL is the same URL, and GOOGLE_BASE_URL ends with /v1beta. All three have
    their batch API, too.

    \b
    Example:
      emdsl sim serve --port 8000 --latency 0.2 --throttled 0.1
    """

    async def main() -> None:
        limit = RateLimit(requests=rpm, windowed=windowed) if rpm is not None else None
        allowed = frozenset(keys) if keys else None
        simulator = Simulator(Faults(**faults), latency, limit=limit, keys=allowed, batch_s=batch_seconds)
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
