"""The command line, second part: the words of the commands that look after a warehouse and a machine."""

import sys
from pathlib import Path
from typing import Any

import click

from flows.command_words import root_of, show, what, where


@click.command()
@where
@click.option("--mend", is_flag=True, help="Mend what can be mended; nothing is deleted but half-written files.")
@click.option("--quick", is_flag=True, help="Names, sizes and records alone: no file is read through.")
@click.option("--json", "as_json", is_flag=True, help="One array of objects, a finding each.")
def check(root: str | None, site: str | None, mend: bool, quick: bool, as_json: bool) -> None:
    """Files, footers and rows against the catalogue: what is missing, foreign or damaged, and what to do."""
    from flows.commands.check import check as look

    findings = look(root_of(root, site), mend=mend, quick=quick)
    if as_json:
        show([vars(finding) for finding in findings], "json")
    for finding in [] if as_json else findings:
        click.echo(finding.line)
    if any(not finding.mended for finding in findings):
        sys.exit(1)


@click.command()
@where
@click.option("--recipe", help="Whose weights to look for. Default: the root's last, or demo.")
@click.option("--json", "as_json", is_flag=True, help="One array of objects, a thing each.")
def doctor(root: str | None, site: str | None, recipe: str | None, as_json: bool) -> None:
    """What is here and what is missing for a run, each with what to do."""
    from flows.commands.doctor import examine
    from flows.machine.diagnosis import MISSING

    found = examine(root, site, recipe)
    show([vars(one) for one in found], "json" if as_json else "table")
    if any(one.state == MISSING for one in found):
        sys.exit(1)


@click.command()
@what
@click.option("--from", "source", metavar="ROOT", help="Whose measurements count. Default: the root's own.")
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), help="Of the corpus. Default: from its files.")
@click.option("--shards", type=click.IntRange(min=1), help="Of the corpus, with --hours.")
@click.option("--cpus", type=click.FloatRange(min=1), help="Of the cluster. Default: this machine's.")
@click.option("--gpus", type=click.FloatRange(min=0), help="Of the cluster. Default: this machine's.")
@click.option("--json", "as_json", is_flag=True, help="One array of objects, a table each, and `all`.")
def estimate(as_json: bool, **words: Any) -> None:
    """What a corpus would take on a site: hours, GPU-hours, storage and money, by what was measured before."""
    from flows.commands.estimate import estimate as reckon
    from flows.commands.estimate import shown
    from flows.commands.options import RunOptions

    how = {name: words.pop(name) for name in ("source", "hours", "shards", "cpus", "gpus")}
    rows = list(shown(reckon(RunOptions(**words), **how)))
    show(rows, "json" if as_json else "table")


@click.command()
@where
@click.option("--out", metavar="FILE", help="The page. Default: report.html in the root.")
@click.option("--audio", envvar="VALLE_AUDIO", help="Where the corpus lies now. Default: where it lay.")
@click.option("--verify", is_flag=True, help="Ask every query of the page again; ends with 1 where a figure differs.")
def report(root: str | None, site: str | None, out: str | None, audio: str | None, verify: bool) -> None:
    """One page of the warehouse: funnel, losses, leaderboard, players, a blind test; from SQL, without a network."""
    from flows.commands.report import hold_against
    from flows.commands.report import report as write

    place = root_of(root, site)
    click.echo(hold_against(place, out) if verify else write(place, out, audio))


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@where
def ratings(file: Path, root: str | None, site: str | None) -> None:
    """Take the answers of the report's blind test into the ledger; they are the table `ratings`."""
    from flows.commands.ratings import take
    from flows.terminal.output import say

    say(take(root_of(root, site), file))


@click.command()
@click.argument("voice", required=False)
@where
@click.option("--withdraw", is_flag=True, help="Its speaker agrees no more; prints what hangs on it.")
@click.option("--json", "as_json", is_flag=True, help="One array of objects, a voice each.")
def consent(voice: str | None, root: str | None, site: str | None, withdraw: bool, as_json: bool) -> None:
    """List whose voices may be used, or take the consent to VOICE back."""
    from flows.commands import consent as words

    if withdraw != (voice is not None):
        raise click.UsageError("name a voice with --withdraw, or neither: `valle consent` lists them")
    place = root_of(root, site)
    show(words.withdraw(place, voice) if voice else words.voices(place), "json" if as_json else "table")


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@where
@click.option(
    "--list", "list_", metavar="FILE", help="Lines of utt|prompt_text|prompt_wav|text. Default: DIR/meta.lst."
)
@click.option("--name", help="What the system is called. Default: the folder's name.")
@click.option("--judge", metavar="WHISPER", help="Default: that of the root's last recipe, or embedded.")
@click.option("--json", "as_json", is_flag=True, help="One array of objects, a row of the leaderboard each.")
def score(folder: Path, root: str | None, site: str | None, as_json: bool, **words: Any) -> None:
    """Judge any system's speech, DIR/<utt>.wav for each line of a list, by our judges, and put it beside ours."""
    from flows.commands.score import score as judge

    show(judge(folder, root=root, site=site, **words), "json" if as_json else "table")


@click.command("help")
@click.argument("words", nargs=-1, metavar="[COMMAND]")
@click.pass_context
def help_(context: click.Context, words: tuple[str, ...]) -> None:
    """What a command does and takes; without one, which there are."""
    assert context.parent
    there: click.Context = context.parent
    for word in words:
        group = there.command
        command = group.get_command(there, word) if isinstance(group, click.Group) else None
        if command is None:
            raise click.UsageError(f"there is no command {' '.join(words)!r}; `valle help` names all of them")
        there = click.Context(command, info_name=word, parent=there)
    click.echo(there.get_help())
