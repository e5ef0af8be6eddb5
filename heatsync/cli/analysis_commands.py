"""Commands that check a score: explain, backtest, whatif, suggest-weights."""

from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from connectors.errors import ConfigurationError
from heatsync.analysis import backtest as backtesting
from heatsync.analysis import backtest_charts, backtest_verdicts
from heatsync.analysis import explain as explaining
from heatsync.analysis import suggest_weights as suggesting
from heatsync.analysis import what_if as changing
from heatsync.analysis.backtest import BacktestRequest
from heatsync.cli import analysis_json, analysis_tables, options, terminal
from heatsync.cli.options import AsJson, Config, Folder
from heatsync.workspace import config as workspace_files
from heatsync.workspace.config import Workspace

Profile = Annotated[str, typer.Argument(metavar="PROFILE", help="The name of its file, without .yml.")]
Day = Annotated[
    str | None,
    typer.Option("--date", metavar="DAY", help="The last day to use. Default: the last complete one."),
]
Horizon = Annotated[
    str, typer.Option("--horizon", metavar="DAYS", help="A user not seen for this long counts as churned.")
]
Entity = Annotated[str, typer.Option("--entity", help="user or account.")]

ENTITIES = ("user", "account")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(explain)
    app.command()(backtest)
    app.command()(whatif)
    app.command("suggest-weights")(suggest_weights)


def explain(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Our id of a user or an account.")],
    folder: Folder = options.HERE,
    config: Config = options.FILE,
    profile: Annotated[
        str | None, typer.Option("--profile", metavar="PROFILE", help="Default: every profile.")
    ] = None,
    entity: Annotated[
        str | None, typer.Option("--entity", help="user or account, if the id is both.")
    ] = None,
    day: Annotated[
        str | None,
        typer.Option("--date", metavar="DAY", help="A day that was scored. Default: the last one."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Explain the score of a user or an account, and show what each destination received."""
    with options.context(folder, config) as context:
        if profile is not None:
            backtesting.find_profile(context.workspace, profile)
        if entity is not None:
            _entity(entity)
        on = None if day is None else options.day(day, "--date")
        names = [profile] if profile is not None else sorted(context.workspace.profiles)
        if on is not None:
            options.complete(context.workspace, on, "--date")
        with terminal.progress(as_json) as on_progress:
            found = explaining.explain_scores(
                context.workspace, key, entity, names, on, lambda *done: on_progress("scoring", *done)
            )
        payloads = explaining.desired_records(context, found[0].entity, key, found[0].as_of)
    if as_json:
        terminal.data(analysis_json.explanation_answer(found, payloads))
    else:
        analysis_tables.print_explanation(found, payloads)


# wide: one parameter per option of the command
def backtest(
    profile: Profile,
    folder: Folder = options.HERE,
    config: Config = options.FILE,
    horizon: Horizon = "30d",
    entity: Entity = "user",
    audience: Annotated[
        str | None, typer.Option("--audience", metavar="KEY", help="Only its members on each day.")
    ] = None,
    day: Day = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Also draw a chart, as .png, .svg or .pdf.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare a profile with what happened: did entities with low scores churn?"""
    if plot is not None:
        backtest_charts.check_path(plot)
    workspace = _open(folder, config)
    question = BacktestRequest(profile, _until(workspace, day), _days(horizon), _entity(entity), audience)
    with terminal.progress(as_json) as on_progress:
        found = backtesting.backtest(workspace, question, lambda *done: on_progress(profile, *done))
    backtest_verdicts.save_verdict(workspace, found)
    if as_json:
        terminal.data(analysis_json.backtest_answer(found))
    else:
        analysis_tables.print_backtest(found)
    if plot is None:
        return
    if found.figures is None:
        terminal.say("There are no figures: no chart was written.")
        return
    backtest_charts.draw(found, plot)
    terminal.say(f"Chart: {plot}")


def whatif(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The changed profile, under its present file name.")
    ],
    folder: Folder = options.HERE,
    config: Config = options.FILE,
    day: Day = None,
    as_json: AsJson = False,
) -> None:
    """Show what a changed profile would do. Sends nothing and stores nothing."""
    workspace = _open(folder, config)
    with terminal.progress(as_json) as on_progress:
        found = changing.what_if(
            workspace, file, _until(workspace, day), lambda *done: on_progress(file.stem, *done)
        )
    if as_json:
        terminal.data(analysis_json.what_if_answer(found))
    else:
        analysis_tables.print_what_if(found)


def suggest_weights(
    profile: Profile,
    folder: Folder = options.HERE,
    config: Config = options.FILE,
    horizon: Horizon = "30d",
    entity: Entity = "user",
    day: Day = None,
    as_json: AsJson = False,
) -> None:
    """Learn weights from churn, and compare them with the current ones on later days."""
    workspace = _open(folder, config)
    question = BacktestRequest(profile, _until(workspace, day), _days(horizon), _entity(entity))
    with terminal.progress(as_json) as on_progress:
        found = suggesting.suggest_weights(workspace, question, lambda *done: on_progress(profile, *done))
    if as_json:
        terminal.data(analysis_json.suggestion_answer(found))
    else:
        analysis_tables.print_suggestion(found)


def _open(folder: Path, config: str) -> Workspace:
    workspace = workspace_files.load(folder, config)
    for warning in workspace.warnings:
        terminal.say(f"warning: {warning}")
    return workspace


def _until(workspace: Workspace, day: str | None) -> date:
    return options.complete(workspace, None if day is None else options.day(day, "--date"), "--date")


def _entity(text: str) -> str:
    if text not in ENTITIES:
        raise ConfigurationError(f"--entity must be user or account, not {text!r}.")
    return text


def _days(text: str) -> int:
    """`30d`, `4w`, or just 30."""
    amount, unit = (text[:-1], text[-1]) if text[-1:] in ("d", "w") else (text, "d")
    if not amount.isascii() or not amount.isdigit() or not 1 <= int(amount) <= 3650:
        raise ConfigurationError(f"--horizon: expected days such as 30d or 4w, found {text!r}.")
    return int(amount) * (7 if unit == "w" else 1)
