//! Lists of Jobs, page by page: no more is built than is sent, and nothing that the caller may not read.

use std::collections::BTreeSet;

use jobwarden_common::api::{JobLine, JobList};
use jobwarden_core::{evidence::JobIdentity, index::JobCursor};
use tokio::task::spawn_blocking;

use super::{
    Api,
    access::{Caller, Right},
    problem::Failure,
    view,
};

/// The default number of Jobs per page.
const LIMIT: usize = 100;
/// The maximum number of Jobs per page.
const MAX_LIMIT: usize = 500;
/// The maximum size of a page in bytes, without what surrounds its Jobs.
const MAX_BYTES: usize = 256 * 1024;
/// The most namespaces that are reviewed for one page.
const MAX_REVIEWS: usize = 32;

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) namespace: Option<String>,
    pub(super) verdict: Option<String>,
    pub(super) limit: Option<usize>,
    /// Where the page before ended.
    pub(super) after: Option<String>,
}

/// The namespaces that a page may show.
enum Readable {
    All,
    Only(BTreeSet<String>),
}

/// One page of what `caller` may read.
pub(super) async fn page(api: &Api, caller: &Caller, wanted: Wanted) -> Result<JobList, Failure> {
    let Wanted { namespace, verdict, limit, after } = wanted;
    let limit = limit.unwrap_or(LIMIT).clamp(1, MAX_LIMIT);
    let after = after.as_deref().map_or_else(JobCursor::default, JobCursor::parse);
    // Where the namespaces end that were reviewed, if there may be more.
    let mut reviewed_until = None;
    let readable = if let Some(namespace) = namespace {
        api.access.require(caller, Right::ListJobs(Some(&namespace))).await.map_err(Failure::denied)?;
        Readable::Only(BTreeSet::from([namespace]))
    } else if api.access.allows(caller, Right::ListJobs(None)).await.map_err(Failure::denied)? {
        Readable::All
    } else {
        let next = api.observer.with(|index, _| index.namespaces(&after, MAX_REVIEWS));
        if next.len() == MAX_REVIEWS {
            reviewed_until = next.last().map(|last| JobCursor::after_namespace(last));
        }
        let mut readable = BTreeSet::new();
        for namespace in next {
            if api.access.allows(caller, Right::ListJobs(Some(&namespace))).await.map_err(Failure::denied)? {
                readable.insert(namespace);
            }
        }
        Readable::Only(readable)
    };
    // One at a time: a pass over very many Jobs delays beats.
    let _turn = api.lists.acquire().await.map_err(|_| Failure::internal())?;
    let api = api.clone();
    let building = spawn_blocking(move || build(&api, &after, limit, &readable, verdict.as_deref()));
    let (jobs, next) = building.await.map_err(|_| Failure::internal())?;
    Ok(JobList { jobs, next: next.or(reviewed_until).map(|next| next.to_string()) })
}

/// The lines of a page, and where the next one begins, if there are more.
fn build(
    api: &Api,
    after: &JobCursor,
    limit: usize,
    readable: &Readable,
    verdict: Option<&str>,
) -> (Vec<JobLine>, Option<JobCursor>) {
    let selected = {
        let reconciler = api.enforcer.reconciler();
        let is_wanted = |identity: &JobIdentity| {
            let concluded = reconciler.conclusion(&identity.uid);
            let is_readable = match readable {
                Readable::All => true,
                Readable::Only(namespaces) => namespaces.contains(&identity.namespace),
            };
            is_readable && concluded.is_some_and(|it| verdict.is_none_or(|verdict| verdict == it.verdict))
        };
        api.observer.with(|index, _| index.page(after, limit + 1, is_wanted))
    };
    let (mut lines, mut bytes, mut last) = (Vec::new(), 0, None);
    for identity in selected {
        let cursor = JobCursor::of(&identity);
        // Since it was selected, the Job may have gone.
        let Some(line) = view::line(api, &identity) else { continue };
        bytes += serde_json::to_vec(&line).map_or(0, |line| line.len());
        let full = lines.len() == limit || (bytes > MAX_BYTES && !lines.is_empty());
        if full {
            return (lines, last);
        }
        lines.push(line);
        last = Some(cursor);
    }
    (lines, None)
}
