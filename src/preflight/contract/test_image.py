"""The image: it builds as the Hub builds it, keeps no secret and wastes no space."""

from __future__ import annotations

from dataclasses import asdict

from preflight.contract.findings import advise, material, not_promised, show, violated
from preflight.engine.image import BuildError, Image
from preflight.engine.layers import Contents, home_of, uid_of
from preflight.model.hub_profile import HUB
from preflight.model.problems import CannotJudge
from preflight.model.space import Space


def test_builds(built: Image | BuildError) -> None:
    """The image builds from the folder alone, with Variables as build args and Secrets as build secrets only.

    Severity: breaks

    On the Hub: "Build error", Job failed with exit code: 1

    Fix: Correct the step that is named; the Hub has neither files that are not committed nor Secrets as build args.

    Source: hub-docs spaces-sdks-docker.md.
    """
    if not isinstance(built, BuildError):
        return
    material(built.log)
    if built.unjudged:
        raise CannotJudge(f"{built.unjudged}; the log: {built.log}")
    violated(
        expected=f"an image within {HUB.build_deadline:g} s",
        actual=str(built).partition("\nfix:")[0],
        fix=built.fix,
    )


def test_user_is_uid_1000(space: Space, image: Image, contents: Contents) -> None:
    """USER is uid 1000, which the Hub's documentation names.

    Severity: risk

    On the Hub: nothing as far as it was observed; "PermissionError: [Errno 13] Permission denied" where the container runs as uid 1000, as documented

    Fix: RUN useradd --create-home --uid 1000 user, then USER 1000 (in node images: USER node).

    Source: hub-docs spaces-sdks-docker.md says uid 1000; observed: an image without USER runs as
    root.
    """
    if not space.follows_conventions:
        not_promised("uid 1000: `preflight.toml` does not say `conventions = true`")
    user, uid = str(image.config.get("User") or ""), uid_of(image, contents)
    if uid != HUB.uid:
        violated(
            expected=f"USER with uid {HUB.uid}",
            actual=f"USER {user}, uid {uid}" if user else "no USER, so root",
        )


def test_home_and_tmp_are_writable(image: Image, contents: Contents) -> None:
    """The user that the container runs as may write its home folder and /tmp, where the image has them.

    Severity: risk

    On the Hub: PermissionError: [Errno 13] Permission denied: '/.cache' (or '/home/user/…')

    Fix: RUN useradd --create-home --uid 1000 user, and leave /tmp as the base image made it.

    Source: the texts are reported by users between 2022 and 2024.
    """
    user = uid_of(image, contents)
    if user == 0:
        return
    gid = next((gid for _, uid, gid, _ in contents.users if uid == user), 0)
    home = home_of(image, contents)
    if home == "/" and contents.users:
        advise(f"a home folder of uid {user}", "HOME is /, and libraries that cache there fail")
    for path in {home, "/tmp"} - {"/"}:
        entry = contents.entries.get(path)
        if entry and not entry.writable_by(user, gid):
            violated(
                expected=f"{path} writable by uid {user}",
                actual=f"{path} belongs to {entry.uid}:{entry.gid}, mode {entry.mode:04o}",
            )


def test_keeps_no_secret(space: Space, contents: Contents) -> None:
    """No value of a Secret is in any layer, ENV, label or the history, also not where a later layer deletes it.

    Severity: risk

    On the Hub: everybody who can pull the image reads the key ("Run with Docker" offers it for a public Space)

    Fix: RUN --mount=type=secret,id=NAME,mode=0444 and use /run/secrets/NAME within that one RUN; write it nowhere.

    Source: hub-docs spaces-run-with-docker.md.
    """
    if not space.secrets_to_find:
        not_promised("`.env.example` declares no Secret whose value could be recognised")
    if contents.leaks:
        places = "\n".join(f"{name} in {place}" for name, place in contents.leaks[:10])
        violated(expected="no value of a Secret in the image", actual=places)


def test_size_is_within_budget(contents: Contents) -> None:
    """All layers together, and the largest of them, are within their budgets.

    Severity: risk; advice without conventions

    On the Hub: "exporting cache" ends with exit code 137; a slow wake-up, since each start pulls the image

    Fix: Build in one stage and copy the result into a slim one; load models at run time. What the Hub takes is not documented: --hub image_budget=BYTES, layer_budget=BYTES.

    Source: reported by users: Cinnamon/kotaemon issue 725; the Hub's limit is unknown.
    """
    total = sum(layer.size for layer in contents.layers)
    largest = max(contents.layers, key=lambda layer: layer.size)
    show("image", {"size": total, "budget": HUB.image_budget})
    show("layers", *map(asdict, contents.layers))
    for what, size, budget in (
        ("all layers", total, HUB.image_budget),
        (f"the layer of `{largest.instruction[:100]}`", largest.size, HUB.layer_budget),
    ):
        if size > budget:
            violated(
                expected=f"at most {megabytes(budget)} for {what}",
                actual=megabytes(size),
            )


def test_wastes_no_space(contents: Contents) -> None:
    """Few bytes are in files that a later layer replaces or deletes: they stay in the image.

    Severity: risk; advice without conventions

    On the Hub: the image is up to twice its size; "exporting cache" ends with exit code 137

    Fix: Delete in the RUN that made the file; COPY --chown=1000:1000 instead of a later chown -R. --hub waste_budget=BYTES sets the budget.

    Source: hub-docs spaces-sdks-docker.md advises against recursive chown.
    """
    wasted = sum(layer.wasted for layer in contents.layers)
    if wasted > HUB.waste_budget:
        worst = max(contents.layers, key=lambda layer: layer.wasted)
        recursive = "chown -R" in worst.instruction or "chmod -R" in worst.instruction
        violated(
            expected=f"at most {megabytes(HUB.waste_budget)} in files that a later layer replaces or deletes",
            actual=f"{megabytes(wasted)}, of which {megabytes(worst.wasted)} by `{worst.instruction[:200]}`",
            fix="COPY --chown=1000:1000, and drop the recursive step" if recursive else None,
        )


def megabytes(size: int) -> str:
    return f"{size / 1024**2:.1f} MiB"
