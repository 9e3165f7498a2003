"""Deleting a job: it goes with what came of it, and its files go with it unless other work needs them."""

from collections.abc import Collection, Sequence

from sqlalchemy import delete, event, select
from sqlalchemy.orm import Session

from evident_core.web.store import Store, owned
from evident_core.web.tables import Input, Job, JobInput, Result


def delete_job(
    store: Store, session: Session, job_id: str, owner: str, *, keep: Collection[str] = ()
) -> Sequence[Input]:
    """Delete a job, its result and corrections, and those of its inputs that no other job refers to.

    Jobs of the same work (the same inputs under the same options) go together, whether one failed, was cancelled or was
    done by an older version: whoever deletes a report does not have to find the attempts before it.

    Args:
        store: Whose rows they are.
        session: The transaction.
        job_id: The job.
        owner: Whose it is.
        keep: Ids of inputs that stay all the same.

    Returns:
        The inputs that are gone.

    Raises:
        NotFound: This owner has no job of that id.
    """
    job = owned(session, Job, job_id, owner)
    ids = _inputs(session, job_id)
    # Locked in one order, so that two deletions cannot wait for each other, and before looking for other jobs, so that
    # none can begin to refer to an input that goes.
    rows = {each: owned(session, Input, each, owner, lock=True) for each in sorted(ids)}
    same = [job]
    if ids:
        near = select(Job).where(Job.owner == owner, Job.service == job.service, Job.run == job.run)
        near = near.where(Job.id.in_(select(JobInput.job_id).where(JobInput.input_id == ids[0])))
        same = [
            each
            for each in session.scalars(near)
            if each.id == job_id or (each.options == job.options and _inputs(session, each.id) == ids)
        ]
    session.execute(delete(Result).where(Result.owner == owner, Result.key.in_([each.key for each in same])))
    session.execute(delete(Job).where(Job.id.in_([each.id for each in same])))
    event.listen(session, "after_commit", lambda _: store.forget(), once=True)
    needed = set(session.scalars(select(JobInput.input_id).where(JobInput.input_id.in_(ids))))
    unused = [each for each in ids if each not in needed and each not in keep]
    for each in unused:
        store.delete_input_in(session, each, owner)
    return [rows[each] for each in unused]


def _inputs(session: Session, job_id: str) -> list[str]:
    query = select(JobInput.input_id).where(JobInput.job_id == job_id).order_by(JobInput.position)
    return list(session.scalars(query))
