"""The command line: the words of every command of `valle`.

Each body is one call; what they do is in `flows.commands` and `warehouse`.

Heavy imports wait inside the commands, so that help and SQL start at once.
"""

import atexit
import os
import sys
from pathlib import Path
from typing import Any

import click

from flows.command_words import root_of, select, show, what, where
from flows.upkeep import check, consent, doctor, estimate, help_, ratings, report, score

FORMATS = click.Choice(["table", "csv", "json"])


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="valle", message="%(prog)s %(version)s")
@click.option("--verbose", is_flag=True, help="Show what Prefect logs, and where logs lie.")
@click.pass_context
def valle(context: click.Context, verbose: bool) -> None:
    """VALL-E as a data pipeline: from raw speech to a zero-shot voice."""
    context.obj = verbose


@valle.command()
@where
@click.pass_obj
def demo(verbose: bool, /, root: str | None, site: str | None) -> None:
    """The whole pipeline, offline, on a made corpus."""
    from flows.commands.demo import run_demo
    from flows.commands.options import RunOptions

    run_demo(RunOptions(recipe="demo", root=root, site=site, verbose=verbose))


@valle.command()
@what
@click.pass_obj
def run(verbose: bool, /, **words: Any) -> None:
    """Make what is missing."""
    from flows.commands.options import RunOptions
    from flows.commands.run import run as make

    make(RunOptions(**words, verbose=verbose))


@valle.command()
@what
@click.option("--json", "as_json", is_flag=True, help="One array of objects, a shard each.")
@click.pass_obj
def plan(verbose: bool, /, as_json: bool, **words: Any) -> None:
    """What `run` would make, and why."""
    from flows.commands.options import RunOptions
    from flows.commands.plan import summary, what_would_run

    rows = what_would_run(RunOptions(**words, verbose=verbose))
    show(rows if as_json else summary(rows), "json" if as_json else "table", "nothing to make")


@valle.command()
@where
@click.option("--audio", envvar="VALLE_AUDIO", help="Where the corpus lies now. Default: where it lay.")
@click.option("--failed", is_flag=True, help="What has failed and not been made since.")
@click.option("--table", help="Every shard of this table, or --shard of it.")
@click.option("--shard", help="One shard of --table.")
@click.option("--dropped", metavar="REASON", help="Every shard with a row dropped for this reason.")
@click.pass_obj
def rerun(
    verbose: bool,
    /,
    root: str | None,
    site: str | None,
    audio: str | None,
    failed: bool,
    table: str | None,
    shard: str | None,
    dropped: str | None,
) -> None:
    """Make shards of the last run again, and what hangs on them."""
    from flows.commands.options import RunOptions
    from flows.commands.rerun import rerun as make

    if sum([failed, bool(table), bool(dropped)]) != 1 or (shard and not table):
        raise click.UsageError("say one of --failed, --table TABLE [--shard SHARD], --dropped REASON")
    options = RunOptions(root=root, site=site, audio=audio, verbose=verbose)
    make(options, failed=failed, table=table, shard=shard, dropped=dropped)


@valle.command()
@where
@click.option("--json", "as_json", is_flag=True, help="One array of objects, a table each.")
def status(root: str | None, site: str | None, as_json: bool) -> None:
    """Per table: fingerprint, shards made, pending and failed, rows, hours."""
    show(select(root, site, "from status"), "json" if as_json else "table")


@valle.command()
@click.argument("query")
@where
@click.option("--format", "format_", type=FORMATS, default="table", show_default=True)
@click.option("--output", type=click.Path(dir_okay=False), help="Write to a file rather than to standard output.")
@click.option("--at", metavar="COMMIT", help="An older catalogue of a warehouse on an object store, by its number.")
def sql(query: str, root: str | None, site: str | None, format_: str, output: str | None, at: str | None) -> None:
    """Read-only SQL over the catalogue, also while flows run."""
    show(select(root, site, query, at), format_, output=output)


@valle.command()
@click.argument("id_", metavar="ID")
@where
@click.option("--json", "as_json", is_flag=True, help="One array with one object, the history.")
def why(id_: str, root: str | None, site: str | None, as_json: bool) -> None:
    """Where an utterance, a recording, TABLE/SHARD, a table or a file of speech comes from, and why it is as it is."""
    from flows.commands.detect import is_file, why_file
    from flows.commands.why import why as tell

    of = root_of(root, site)
    click.echo(why_file(of, Path(id_), as_json=as_json) if is_file(id_) else tell(of, id_, as_json=as_json), nl=False)


@valle.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--codec", default="embedded", show_default=True, help="The EnCodec that the mark in codes is sought by.")
@click.option("--json", "as_json", is_flag=True, help="One array of objects, a file each.")
def detect(files: tuple[str, ...], codec: str, as_json: bool) -> None:
    """What files and their codes say of themselves: `synthetic`, `altered` since they were signed, or `no mark`."""
    from flows.commands.detect import detect as examine

    rows = examine(files, codec)
    if as_json:
        show(rows, "json")
        return
    for row in rows:
        click.echo(f"{row['verdict']}\t{row['path']}\t{row['why']}")


@valle.command()
@where
@click.option("--json", "as_json", is_flag=True, help="One array of objects, a split each.")
def stats(root: str | None, site: str | None, as_json: bool) -> None:
    """The corpus at a glance."""
    if as_json:
        show(select(root, site, "from overview"), "json")
        return
    sections = {
        "Per split": "from overview",
        "What was kept, and what was dropped for which reason": "from funnel_at_a_glance",
        "The speakers with most hours": "from speakers limit 10",
    }
    for title, rows in {title: select(root, site, query) for title, query in sections.items()}.items():
        click.echo(f"{title}\n")
        show(rows, "table")
        click.echo()


@valle.command()
@click.argument("text", required=False)
@where
@click.option("--file", type=click.Path(), help="Say what is in this file. - is standard input, here or as TEXT.")
@click.option("--prompt", required=True, metavar="FILE or UTTERANCE_ID", help="Who says it: audio, or an utterance.")
@click.option("--prompt-text", help="What is said in a prompt of 3 s. Default: Whisper hears it.")
@click.option("--checkpoint", metavar="DIR", help="The pair ar/ and nar/, or `embedded`. Default: the root's newest.")
@click.option("--codec", help="The EnCodec of the checkpoint. Default: found by its digest.")
@click.option("--whisper", help="Who hears the prompt. Default: the last recipe's, or `embedded`.")
@click.option("--language", help="As espeak-ng names it. Default: the last recipe's, or en-us.")
@click.option("--seed", type=click.IntRange(0, 2**32), default=0, show_default=True)
@click.option("--num", type=click.IntRange(1, 100), default=1, show_default=True, help="Renditions, a seed each.")
@click.option("--best-of", type=click.IntRange(1, 20), default=1, show_default=True, help="Tries of each piece.")
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16", "int8"]),
    default="float32",
    show_default=True,
    help="Of the weights: lighter ones speak up to three times as fast, and not quite the same.",
)
@click.option("--consent", is_flag=True, help="The speaker agrees to the use of this voice; it is remembered.")
@click.option("--stream", is_flag=True, help="To standard output while it is made.")
@click.option("--mark", is_flag=True, help="Mark the codes themselves, which costs words.")
@click.option(
    "--output", metavar="FILE.wav", help="Default: speech.wav here, numbered where it exists; - is standard output."
)
@click.option("--json", "as_json", is_flag=True, help="One array of objects, a file each.")
def say(text: str | None, root: str | None, site: str | None, file: str | None, as_json: bool, **how: Any) -> None:
    """Say TEXT in the voice of a prompt: zero-shot speech, 24 kHz."""
    is_piped = how["stream"] or how["output"] == "-"
    if as_json and is_piped:
        raise click.UsageError("standard output takes the speech or --json, and not both")
    words = _text(text, file)
    from flows.commands.say import SayOptions
    from flows.commands.say import say as speak
    from flows.engine.site import load_site

    rows = speak(SayOptions(text=words, **how), load_site(site, root=root))
    if as_json:
        show(rows, "json")
    elif not is_piped:
        for row in rows:
            click.echo(row["path"])


@valle.group()
def export() -> None:
    """The dataset in other people's words."""


@export.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@where
@click.option("--audio", envvar="VALLE_AUDIO", help="Where the corpus lies now. Default: where it lay.")
def lhotse(folder: Path, root: str | None, site: str | None, audio: str | None) -> None:
    """Manifests that lhotse loads: recordings, supervisions, and cuts with their codes."""
    from flows.commands.export import export_lhotse
    from flows.terminal.output import say

    say(export_lhotse(root_of(root, site), folder, audio))


@export.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@where
def hf(folder: Path, root: str | None, site: str | None) -> None:
    """A folder that Hugging Face's `datasets` loads: words, phones and codes of every kept example."""
    from flows.commands.export_hf import export_hf
    from flows.terminal.output import say

    say(export_hf(root_of(root, site), folder))


@valle.command()
@click.argument("name")
@where
@click.option("--dest", metavar="DIR", type=click.Path(file_okay=False), help="Extract here. Default: the corpus.")
@click.option("--mirror", metavar="URL", help="A server with the publisher's path names.")
@click.option("--md5", metavar="SUM", help="What the sum of a URL's archive has to be.")
@click.option("--stream", is_flag=True, help="Extract a plain tar while it arrives, before its sum is known.")
@click.option("--keep-archive", is_flag=True, help="Do not delete the archive when its members are there.")
@click.option("--leave-free", "leave_free_gib", metavar="GIB", type=float, default=1.0, show_default=True)
@click.pass_obj
def download(verbose: bool, /, name: str, root: str | None, site: str | None, **how: Any) -> None:
    """An archive of a corpus by its NAME or URL, verified and extracted.

    librilight-small, -medium, -large, librispeech-test-clean, -dev-clean, -test-other.
    """
    from flows.commands.download import download as bring
    from flows.commands.options import RunOptions

    bring(RunOptions(root=root, site=site, verbose=verbose), name, **how)


@valle.command()
@what
@click.option("--cron", help="When `pipeline` runs: '0 3 * * *' is every night at three. Default: never by itself.")
@click.option("--timezone", default="UTC", show_default=True, help="Of --cron, such as Europe/Berlin.")
@click.option("--limit", type=click.IntRange(1), default=1, show_default=True, help="Runs at a time.")
@click.option("--port", type=click.IntRange(1, 65535), default=4200, show_default=True, help="Of Prefect's pages.")
@click.pass_obj
def serve(verbose: bool, /, cron: str | None, timezone: str, limit: int, port: int, **words: Any) -> None:
    """Serve the flows from this machine, by a schedule and from Prefect's pages."""
    from flows.commands.options import RunOptions
    from flows.commands.serve import serve as keep_serving

    keep_serving(RunOptions(**words, verbose=verbose), cron=cron, timezone=timezone, limit=limit, port=port)


@valle.command()
@where
@click.option("--yes", is_flag=True, help="Free it without asking.")
@click.option("--json", "as_json", is_flag=True, help="One array of objects, a path each.")
def gc(root: str | None, site: str | None, yes: bool, as_json: bool) -> None:
    """Free what no recipe, newest training or sample rests on; lists it and asks first."""
    from flows.terminal.output import say
    from warehouse.garbage import free, garbage

    place = root_of(root, site)
    found = garbage(place)
    show([vars(one) for one in found], "json" if as_json else "table", "nothing to free")
    if not found:
        return
    size = f"{len(found)} paths, {sum(one.bytes for one in found) / 1e6:,.1f} MB"
    if not yes and not sys.stdin.isatty():
        say(f"{size}: nothing was freed, `--yes` frees it")
    elif yes or click.confirm(f"{size}: free them?", err=True):
        free(place, [one for one in garbage(place) if one in found])  # as it is by now
        say(f"{size} freed")


@valle.group()
def catalogue() -> None:
    """The index of the warehouse."""


@catalogue.command()
@where
def rebuild(root: str | None, site: str | None) -> None:
    """Make the catalogue anew, from shards and ledger."""
    from flows.engine.site import load_site
    from flows.terminal.output import say
    from warehouse import ledger
    from warehouse.catalogue import Catalogue

    index = Catalogue(load_site(site, root=root).root)
    if not ledger.kept(index.root):
        index.last_run()  # says what is wrong where nothing has run
    artifacts, runs = index.rebuild()
    say(f"{index.published}: {artifacts} artifacts, {runs} runs")


def _text(text: str | None, file: str | None) -> str:
    """What is to be said, from the command line, a file or standard input."""
    if (text is None) == (file is None):
        raise click.UsageError("say what is to be said: TEXT, or --file FILE, or - for standard input")
    try:
        if "-" in (text, file):
            return sys.stdin.buffer.read().decode()
        return Path(file).read_text(encoding="utf-8-sig") if file else text or ""
    except UnicodeDecodeError:
        raise click.UsageError(f"{file or 'standard input'} is not text in UTF-8") from None


for upkeep in (check, consent, doctor, estimate, report, ratings, score, help_):
    valle.add_command(upkeep)


def main() -> None:
    """The entry point: 0 done, 1 some work failed, 2 a wrong word, setting or file, 130 interrupted."""
    from flows.machine.namesakes import ours_first
    from flows.machine.signals import end_now, heed_signals, is_interrupted, leave_signals, tell_of_the_interrupt
    from flows.machine.standard_streams import hush_leaks, settle_streams

    settle_streams()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # a thread that spins for another starves it on a busy core
    ours_first()
    from flows.machine.proxies import settle_proxies

    atexit.register(hush_leaks)
    heed_signals()
    try:
        for words in settle_proxies(is_download=sys.argv[1:2] == ["download"]):
            click.echo(f"valle: {words}", err=True)
        code = _ended(valle)
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except BaseException:  # of whatever kind, where it was interrupted
        if not is_interrupted():
            raise
        code = 130
    if code == 130 or is_interrupted():
        tell_of_the_interrupt()
        code = 130
    if is_interrupted():
        end_now()
    leave_signals()
    if code:
        sys.exit(code)


def _ended(command: click.Group) -> int:
    """The exit code of a command, with what is to be said of a mistake said."""
    from warehouse.errors import FULL, Mistake, WorkFailed, is_full_disk
    from warehouse.objects import Unanswered

    try:
        command(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return 2
    except Mistake as error:
        click.echo(f"valle: {error}", err=True)
        return 2
    except (WorkFailed, Unanswered) as error:
        click.echo(f"valle: {error}", err=True)
        return 1
    except ImportError as error:
        if "socksio" not in str(error):
            raise
        click.echo("valle: a SOCKS proxy, as the environment names one, needs `pip install socksio`", err=True)
        return 2
    except BrokenPipeError:
        return 0  # `valle sql … | head` has read enough
    except OSError as error:
        if is_full_disk(error):
            click.echo(f"valle: {FULL}", err=True)
            return 1
        if isinstance(error, FileNotFoundError) and error.errno is None:  # an object that somebody has removed
            click.echo(f"valle: {error}", err=True)
            return 1
        if error.filename is None:
            raise
        click.echo(f"valle: {error.filename}: {error.strerror}", err=True)
        return 2
    return 0
