"""`emdsl sim serve`: the embedded simulator as a server."""

from __future__ import annotations

import asyncio
import signal

import click

from emdsl.cli import console, session
from emdsl.errors import UsageError
from emdsl.sim.server import Faults, RateLimit, Simulator

SHARE = click.FloatRange(0, 1)


@click.group("sim")
def command() -> None:
    """The embedded simulator: a real server on loopback with known ground truth."""


@command.command("serve")
@session.option("--port", type=click.IntRange(0, 65535), default=0, envvar="EMDSL_SIM_PORT", help="0 takes a free one.")
@session.option(
    "--latency",
    type=click.FloatRange(0),
    default=0.0,
    envvar="EMDSL_SIM_LATENCY",
    help="Seconds that every answer takes.",
)
@session.option(
    "--throttled",
    type=SHARE,
    default=0.0,
    envvar="EMDSL_SIM_THROTTLED",
    help="Share of requests answered with 429.",
)
@session.option(
    "--retry-after",
    type=click.FloatRange(0),
    default=0.05,
    envvar="EMDSL_SIM_RETRY_AFTER",
    help="Seconds in their Retry-After.",
)
@session.option("--failed", type=SHARE, default=0.0, envvar="EMDSL_SIM_FAILED", help="Share answered with 500.")
@session.option("--slow", type=SHARE, default=0.0, envvar="EMDSL_SIM_SLOW", help="Share answered late.")
@session.option(
    "--slow-by",
    type=click.FloatRange(0),
    default=1.0,
    envvar="EMDSL_SIM_SLOW_BY",
    help="By how many seconds.",
)
@session.option("--cut", type=SHARE, default=0.0, envvar="EMDSL_SIM_CUT", help="Share whose connection is cut.")
@session.option(
    "--malformed",
    type=SHARE,
    default=0.0,
    envvar="EMDSL_SIM_MALFORMED",
    help="Share answered with broken JSON.",
)
@session.option(
    "--rpm",
    type=click.FloatRange(0, min_open=True),
    envvar="EMDSL_SIM_RPM",
    help="Requests a minute that are allowed.",
)
@session.option("--windowed", is_flag=True, envvar="EMDSL_SIM_WINDOWED", help="Give them all at once, each minute.")
@session.option("--key", "keys", multiple=True, envvar="EMDSL_SIM_KEY", help="Let in these API keys only.")
@session.option("--seed", type=int, default=0, envvar="EMDSL_SIM_SEED", help="Of the faults.")
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
    """Serve until interrupted, in the formats of OpenAI, Anthropic and Google; point EMDSL_SIM_URL at it.

    `subject` and `judge` have their ground truth; a model of any other name answers, and judges where it is shown a
    simulated answer. For the other formats ANTHROPIC_BASE_URL is the same URL, and GOOGLE_BASE_URL ends with /v1beta.
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
