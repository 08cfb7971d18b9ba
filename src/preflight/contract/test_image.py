"""The image: it builds as the Hub builds it, runs as uid 1000, keeps no secret and wastes no space."""

from __future__ import annotations

from dataclasses import asdict

from preflight.contract.findings import material, not_promised, show, violated, violated_if, warn
from preflight.engine.build_log import digest
from preflight.engine.image import BuildError, Image
from preflight.engine.layers import Contents, home_of
from preflight.model.hub_profile import HUB
from preflight.model.space import Space


def test_builds(built: Image | BuildError) -> None:
    """The image builds from the folder alone, with Variables as build args and Secrets as build secrets only.

    On the Hub: "Build error", Job failed with exit code: 1

    Fix: Correct the step that is named; the Hub has neither files that are not committed nor Secrets as build args.
    """
    if not isinstance(built, BuildError):
        return
    material(built.log)
    if "did not end within" in str(built):
        fix = "find out what the last step waits for; --hub build_deadline=SECONDS allows it more"
    else:
        said = built.log.read_text(errors="replace") if built.log.is_file() else ""
        fix = digest(said).fix
    violated(
        expected=f"an image within {HUB.build_deadline:g} s",
        actual=str(built).partition("\nfix:")[0],
        fix=fix,
    )


def test_user_is_uid_1000(space: Space, image: Image, contents: Contents) -> None:
    """USER is uid 1000, which the Hub runs the container as.

    On the Hub: PermissionError: [Errno 13] Permission denied, for files that the image made as another user

    Fix: RUN useradd --create-home --uid 1000 user, then USER 1000 (in node images: USER node).
    """
    user = str(image.config.get("User") or "").partition(":")[0]
    uids = {name: uid for name, uid, _, _ in contents.users}
    uid = int(user) if user.isdigit() else uids.get(user, 0)
    if not user and not space.follows_conventions:
        not_promised(f"the Dockerfile has no USER; it runs as uid {HUB.uid} on the Hub as here")
    if uid != HUB.uid:
        violated_if(
            space.follows_conventions,
            expected=f"USER with uid {HUB.uid}",
            actual=f"USER {user}, uid {uid}" if user else "no USER, so root",
        )


def test_home_and_tmp_are_writable(image: Image, contents: Contents) -> None:
    """Uid 1000 may write its home folder and /tmp, where the image has them.

    On the Hub: PermissionError: [Errno 13] Permission denied: '/.cache' (or '/home/user/…')

    Fix: RUN useradd --create-home --uid 1000 user, and leave /tmp as the base image made it.
    """
    own = next((user for user in contents.users if user[1] == HUB.uid), None)
    gid = own[2] if own else 0
    home = home_of(image, contents)
    if home == "/" and image.config.get("User") and contents.users:
        warn(f"uid {HUB.uid} has no home folder: HOME is /, and libraries that cache there fail")
    for path in {home, "/tmp"} - {"/"}:
        entry = contents.entries.get(path)
        if entry and not entry.writable_by(HUB.uid, gid):
            violated(
                expected=f"{path} writable by uid {HUB.uid}",
                actual=f"{path} belongs to {entry.uid}:{entry.gid}, mode {entry.mode:04o}",
            )


def test_keeps_no_secret(secrets: dict[str, str], contents: Contents) -> None:
    """No value of a Secret is in any layer, ENV, label or the history, also not where a later layer deletes it.

    On the Hub: whoever can pull the image reads the key ("Run with Docker" offers it for a public Space)

    Fix: RUN --mount=type=secret,id=NAME,mode=0444 and use /run/secrets/NAME within that one RUN; write it nowhere.
    """
    if not secrets:
        not_promised("`.env.example` declares no Secret whose value could be told apart")
    if contents.leaks:
        places = "\n".join(f"{name} in {place}" for name, place in contents.leaks[:10])
        violated(expected="no value of a Secret in the image", actual=places)


def test_size_is_within_budget(space: Space, contents: Contents) -> None:
    """All layers together, and the largest of them, are within their budgets.

    On the Hub: "exporting cache" ends with exit code 137; a slow wake-up, since each start pulls the image

    Fix: Build in one stage and copy the result into a slim one; load models at run time. What the Hub takes is not documented: --hub image_budget=BYTES, layer_budget=BYTES.
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
            violated_if(
                space.follows_conventions,
                expected=f"at most {megabytes(budget)} for {what}",
                actual=megabytes(size),
            )


def test_wastes_no_space(space: Space, contents: Contents) -> None:
    """Few bytes are in files that a later layer replaces or deletes: they stay in the image.

    On the Hub: the image is up to twice its size; "exporting cache" ends with exit code 137

    Fix: Delete in the RUN that made the file; COPY --chown=1000:1000 instead of a later chown -R. --hub waste_budget=BYTES sets the budget.
    """
    wasted = sum(layer.wasted for layer in contents.layers)
    if wasted > HUB.waste_budget:
        worst = max(contents.layers, key=lambda layer: layer.wasted)
        recursive = "chown -R" in worst.instruction or "chmod -R" in worst.instruction
        violated_if(
            space.follows_conventions,
            expected=f"at most {megabytes(HUB.waste_budget)} in files that a later layer replaces or deletes",
            actual=f"{megabytes(wasted)}, of which {megabytes(worst.wasted)} by `{worst.instruction[:200]}`",
            fix="COPY --chown=1000:1000, and drop the recursive step" if recursive else None,
        )


def megabytes(size: int) -> str:
    return f"{size / 1024**2:.1f} MiB"
