//! Watches of an API server in memory whose history is replaced, as after etcd was restored from a backup.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::*;

/// An API server in memory that lists and watches Jobs. Clones share the same history.
#[derive(Clone, Default)]
struct History(Arc<Mutex<State>>);

#[derive(Clone, Default)]
struct State {
    version: u64,
    jobs: BTreeMap<String, Value>,
    /// The version and the text of every event.
    events: Vec<(u64, String)>,
    /// Lists of whole objects, of metadata in pages, and of one object.
    requests: Requests,
    is_away: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Requests {
    lists: usize,
    pages: usize,
    versions: usize,
}

impl History {
    fn client(&self) -> Client {
        let history = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let answer = history.state().answer(&request);
            async move {
                let bytes = answer.ok_or_else(|| std::io::Error::other("connection refused"))?.into_bytes();
                Ok::<_, std::io::Error>(Response::new(Body::from(bytes)))
            }
        });
        Client::new(service, "default")
    }

    fn create(&self, job: &str) {
        self.state().write("ADDED", job);
    }

    fn update(&self, job: &str) {
        self.state().write("MODIFIED", job);
    }

    fn delete(&self, job: &str) {
        self.state().write("DELETED", job);
    }

    /// Writes to an object that nobody watches.
    fn write_elsewhere(&self, times: u64) {
        self.state().version += times;
    }

    fn back_up(&self) -> State {
        self.state().clone()
    }

    /// Replaces everything by a backup. Connections break, as they do when the API server restarts.
    async fn restore(&self, backup: State) {
        self.state().is_away = true;
        sleep(Duration::from_secs(30)).await;
        let requests = self.state().requests;
        *self.state() = State { requests, ..backup };
    }

    fn requests(&self) -> Requests {
        self.state().requests
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn write(&mut self, type_: &str, uid: &str) {
        self.version += 1;
        let object = job(uid, &self.version.to_string());
        self.events.push((self.version, event(type_, &object)));
        if type_ == "DELETED" {
            self.jobs.remove(uid);
        } else {
            self.jobs.insert(uid.to_owned(), object);
        }
    }

    fn answer(&mut self, request: &Request<Body>) -> Option<String> {
        if self.is_away {
            return None;
        }
        let query = request.uri().query().unwrap_or_default();
        let parameter = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        if parameter("watch").is_some() {
            let from: u64 = parameter("resourceVersion")?.parse().ok()?;
            return Some(self.events.iter().filter(|(at, _)| *at > from).map(|(_, text)| text.as_str()).collect());
        }
        let accept = request.headers().get("accept").and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        let is_metadata = accept.contains("PartialObjectMetadataList");
        match (is_metadata, parameter("limit")) {
            (true, Some("1")) => {
                assert_eq!(parameter("labelSelector"), None, "with a selector, the API server would have to search");
                self.requests.versions += 1;
            }
            (true, _) => self.requests.pages += 1,
            (false, _) => self.requests.lists += 1,
        }
        let jobs: Vec<_> = self.jobs.values().cloned().collect();
        Some(list(&self.version.to_string(), "", &jobs))
    }
}

/// Follows the history for as long as the test runs.
fn follow(history: &History) -> (Observer, tokio::task::JoinHandle<()>) {
    let observer = Observer::new(Policy::default());
    for watch in [Watch::Pods, Watch::Nodes, Watch::Leases, Watch::Namespaces] {
        observer.watch_listed(watch);
    }
    let api = Api::all(history.client());
    let follower = Follower::<Job>::new(api, Some("jobwarden.io/enrolled=true".to_owned()), &observer);
    (observer.clone(), tokio::spawn(follower.run()))
}

const SOON: Duration = Duration::from_secs(10);
/// Until the first comparison, and the second half a minute later.
const TWO_COMPARISONS: Duration = Duration::from_mins(11);

#[tokio::test(start_paused = true)]
async fn a_history_that_goes_back_is_noticed_when_the_watch_resumes() {
    let history = History::default();
    history.create("before");
    let (observer, following) = follow(&history);
    sleep(SOON).await;
    let backup = history.back_up();
    let mut inconsistencies = observer.inconsistencies();
    history.create("ghost");
    history.write_elsewhere(100);
    history.update("ghost");
    sleep(SOON).await;
    assert!(!is_gone(&observer, &"ghost".into()));

    history.restore(backup).await;
    history.create("after");
    sleep(SOON).await;
    assert!(is_gone(&observer, &"ghost".into()));
    assert!(!is_gone(&observer, &"before".into()) && !is_gone(&observer, &"after".into()));
    assert!(inconsistencies.has_changed().expect("the observer is there"), "other watches are told");
    inconsistencies.borrow_and_update();

    // From then on the watch follows the new history.
    history.create("later");
    sleep(SOON).await;
    assert!(!is_gone(&observer, &"later".into()));
    assert!(!inconsistencies.has_changed().expect("the observer is there"));
    assert_eq!(history.requests().lists, 2);
    following.abort();
}

#[tokio::test(start_paused = true)]
async fn a_history_that_went_back_and_overtook_the_watch_is_noticed_by_its_objects() {
    let history = History::default();
    history.create("before");
    let (observer, following) = follow(&history);
    sleep(SOON).await;
    let backup = history.back_up();
    history.create("ghost");
    sleep(SOON).await;

    history.restore(backup).await;
    history.create("unseen");
    history.write_elsewhere(1000);
    history.update("before");
    sleep(SOON).await;
    assert_eq!(observer.jobs(), 2, "the watch has missed one and does not know of the other's end");
    sleep(TWO_COMPARISONS).await;
    assert!(is_gone(&observer, &"ghost".into()));
    assert!(!is_gone(&observer, &"unseen".into()));
    following.abort();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_listed_again_without_a_cause() {
    let history = History::default();
    let (observer, following) = follow(&history);
    let inconsistencies = observer.inconsistencies();
    for round in 0..240 {
        history.create(&format!("job-{round}"));
        history.write_elsewhere(50);
        sleep(Duration::from_secs(15)).await;
        if round % 3 == 0 {
            history.delete(&format!("job-{round}"));
        }
        if round % 40 == 0 {
            let unchanged = history.back_up();
            history.restore(unchanged).await;
        }
    }
    let requests = history.requests();
    assert_eq!(requests.lists, 1);
    // An hour: a version each minute and after each outage, and the objects each ten minutes. None differed.
    assert!((60..=70).contains(&requests.versions) && (5..=7).contains(&requests.pages), "{requests:?}");
    assert!(!inconsistencies.has_changed().expect("the observer is there"));
    following.abort();
}
