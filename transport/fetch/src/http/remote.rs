//! One file on one or several servers: which server is asked, what for, and when no more.
//!
//! ```text
//! read_at --> the open answer stands there? --yes--> read
//!                |no, it stands shortly before        |failed
//!                |--> read and throw away             v
//!                |no                               mirror set aside <--+
//!                v                                    |               |failed
//!             choose a mirror <--- wait, new round <--+               |
//!                |                                                    |
//!                +--> request a range, judge the answer --------------+
//! ```

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::http::{HeaderMap, Response, header};
use ureq::tls::RootCerts;

use crate::http::answer::{self, ContentRange, Validator};
use crate::http::credentials::{self, Credentials, Warning};
use crate::http::error::{Asked, Error, Place, shown};
use crate::http::line::{self, Meter};
use crate::http::options::Options;
use crate::http::url::{Origin, Url};

/// How many redirects one request follows.
const REDIRECTS_MAX: usize = 5;

/// The longest gap that is read and thrown away where a new request could pass over it.
const GAP_MAX: u64 = 16 << 10;

/// How many bytes count as progress, after which failures before them are forgotten.
const PROGRESS_MIN: u64 = 16 << 10;

/// How many bytes may be thrown away besides four times the length of the file.
const DISCARD_MIN: u64 = 1 << 20;

/// Failures that a mirror is charged with for bytes that are wrong: more than any other one has.
const WRONG_BYTES: u32 = 1 << 16;

/// How many agents a mirror keeps: its own, and those of redirects.
const AGENTS_MAX: usize = 4;

/// Which version of a file was read: a caller stores it to go on later, after a restart as well.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The length of the file.
    pub len: u64,
    /// The address of the mirror that `etag` is from, without its query.
    pub url: String,
    /// The strong entity tag that this mirror gave.
    pub etag: Option<String>,
}

impl Identity {
    /// An identity as it was stored.
    #[must_use]
    pub fn new(len: u64, url: String, etag: Option<String>) -> Self {
        Self { len, url, etag }
    }
}

/// One file on one or several servers.
pub struct Remote {
    options: Options,
    mirrors: Vec<Mirror>,
    credentials: Credentials,
    warnings: Vec<Warning>,
    /// Read when the first connection with TLS is made.
    roots: Option<RootCerts>,
    meter: Arc<Meter>,
    len: Option<u64>,
    open: Option<Open>,
    /// The mirror that gave bytes last.
    served: Option<usize>,
    /// The end of what will be wanted.
    expected: u64,
    received: u64,
    discarded: u64,
    /// Bytes that the caller got since the last failure that counted.
    progress: u64,
    /// Rounds in which every mirror failed.
    rounds: u32,
    /// What servers asked for in this round.
    retry_after: Duration,
}

/// One server with the file.
struct Mirror {
    url: Url,
    /// Its version of the file, from its first answer.
    validator: Option<Validator>,
    /// Whether bytes came from it, or the caller says that they did in an earlier life.
    used: bool,
    /// Whether it answers a range with a range, as far as known.
    ranges: bool,
    failures: u32,
    /// Failed since all were asked again for the last time.
    aside: bool,
    /// Not asked again.
    out: bool,
    error: Option<Error>,
    agents: Vec<(Origin, bool, Agent)>,
}

/// An answer whose body is being read.
struct Open {
    mirror: usize,
    place: Place,
    status: u16,
    /// The next byte of the body is this one of the file.
    position: u64,
    /// The last byte of the body is before this one.
    end: u64,
    /// The body says where it ends, so that reading on costs no wait.
    has_length: bool,
    body: Box<dyn Read + Send>,
}

/// How a request failed, and what follows for its mirror.
struct Failure {
    error: Error,
    then: Then,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The request was not seen by the server; it is sent again over a new connection.
    Again,
    /// The mirror may be asked again, not before this time.
    Retry(Duration),
    /// The mirror is not asked again.
    Out,
    /// No mirror is.
    Stop,
}

impl Error {
    fn then(self, then: Then) -> Failure {
        Failure { error: self, then }
    }
}

impl Remote {
    /// A file that all `urls` have; the first one is preferred. Opens no connection.
    ///
    /// Token and client certificate go to the servers of all `urls`, and to no server that a
    /// redirect names.
    ///
    /// # Errors
    /// [`Error::Setup`]: no address, a file that an option names and cannot be used, or a token
    /// that would leave this machine in clear text.
    pub fn new(urls: Vec<Url>, options: &Options) -> Result<Self, Error> {
        if urls.is_empty() {
            return Err(Error::Setup("expected at least one address".to_owned()));
        }
        let (credentials, warnings) = Credentials::read(options)?;
        let bare = |url: &&Url| !url.is_secure() && !url.is_loopback();
        if credentials.authorization.is_some()
            && let Some(url) = urls.iter().find(bare)
        {
            return Err(Error::Setup(format!(
                "a token is not sent in clear text: expected https instead of {url}"
            )));
        }
        // What is wrong with the files is better known before anything is asked.
        let eager = options.cacert.is_some() || urls.iter().any(Url::is_secure);
        let roots = eager.then(|| credentials::roots(options)).transpose()?;
        Ok(Self {
            meter: Arc::new(Meter::new(options.stall)),
            options: options.clone(),
            mirrors: urls.into_iter().map(Mirror::new).collect(),
            credentials,
            warnings,
            roots,
            len: None,
            open: None,
            served: None,
            expected: 0,
            received: 0,
            discarded: 0,
            progress: 0,
            rounds: 0,
            retry_after: Duration::ZERO,
        })
    }

    /// Goes on with a file that was read in part earlier: another file is [`Error::Changed`].
    #[must_use]
    pub fn with_identity(mut self, identity: &Identity) -> Self {
        self.len = Some(identity.len);
        let same = self.mirrors.iter_mut().find(|mirror| mirror.url.to_string() == identity.url);
        if let Some(mirror) = same {
            mirror.validator = identity.etag.as_deref().and_then(Validator::strong);
            mirror.used = true;
        }
        self
    }

    /// Which version of the file is being read: `None` before a server told its length.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        let tagged = |mirror: &&Mirror| matches!(mirror.validator, Some(Validator::Strong(_)));
        let used = self.mirrors.iter().filter(|mirror| mirror.used);
        let mirror = used.clone().find(tagged).or(used.clone().next());
        let mirror = mirror.or(self.mirrors.first())?;
        let etag = match &mirror.validator {
            Some(Validator::Strong(tag)) => Some(tag.clone()),
            _ => None,
        };
        Some(Identity { len: self.len?, url: mirror.url.to_string(), etag })
    }

    /// Whether the server that `identity` names has that version of the file now, by its entity
    /// tag. Asks for one byte; if so, goes on with that version. For a file of which nothing was
    /// read yet.
    ///
    /// Any failure is a `false`; the next call asks again, and says what is wrong.
    pub fn is_still(&mut self, identity: &Identity) -> bool {
        let tag = identity.etag.as_deref().and_then(Validator::strong);
        let number = self.mirrors.iter().position(|found| found.url.to_string() == identity.url);
        let (Some(tag), Some(number), None) = (tag, number, self.len) else { return false };
        let ranges = self.mirrors[number].ranges;
        self.mirrors[number].validator = Some(tag);
        let answer = self.ask(number, 0, 1);
        // With another version a server sends all of it, or names another tag or length.
        let is_still = matches!(&answer, Ok(Some(open)) if open.status == 206)
            && self.len == Some(identity.len);
        if is_still {
            self.open = answer.unwrap_or_default();
            // The connection serves again once the byte was read.
            if let Ok(1) = self.read_body(&mut [0]) {
                return true;
            }
        }
        // As before: a server that gives the whole of another version may well have ranges.
        let mirror = &mut self.mirrors[number];
        (mirror.validator, mirror.used, mirror.ranges) = (None, false, ranges);
        (mirror.aside, mirror.failures, mirror.error) = (false, 0, None);
        (self.open, self.len) = (None, None);
        false
    }

    /// What should be changed on this machine.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// What came last is not what it should be: from now on the mirror that gave it is asked only
    /// where no other one serves. Whether there is another one that gave no such bytes.
    pub fn distrust(&mut self) -> bool {
        if let Some(mirror) = self.served.and_then(|number| self.mirrors.get_mut(number)) {
            mirror.failures = mirror.failures.max(WRONG_BYTES);
            self.open = None;
        }
        self.mirrors.iter().any(|mirror| !mirror.out && mirror.failures < WRONG_BYTES)
    }

    /// How many mirrors there are.
    #[must_use]
    pub fn mirrors(&self) -> usize {
        self.mirrors.len()
    }

    /// How many bytes of bodies came, those that were thrown away included.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The bytes up to `end` will be wanted: the next request asks for all of them at once.
    ///
    /// [`u64::MAX`] asks for all up to the end of the file.
    pub fn expect(&mut self, end: u64) {
        self.expected = end;
    }

    /// How many bytes the file has; asks a server if that is not known yet.
    ///
    /// # Errors
    /// [`Error`].
    #[expect(clippy::len_without_is_empty, reason = "a file is never taken for its emptiness")]
    pub fn len(&mut self) -> Result<u64, Error> {
        loop {
            if let Some(len) = self.len {
                self.check_len(len)?;
                return Ok(len);
            }
            self.request(0, self.expected.max(1))?;
        }
    }

    /// Fills `into` with the bytes at `offset`; returns how many, which is fewer only at the end
    /// of the file.
    ///
    /// Goes on with the open answer where that stands there. Anything else is a new request, for
    /// what is missing in `into` and what was [expected](Self::expect) beyond it.
    ///
    /// # Errors
    /// [`Error`]. The bytes in `into` mean nothing then.
    pub fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<usize, Error> {
        self.read(offset, into, false)
    }

    /// As [`read_at`](Self::read_at), but only what is here already or comes next: at least one
    /// byte, unless the file ends.
    ///
    /// # Errors
    /// [`Error`].
    pub fn read_some(&mut self, offset: u64, into: &mut [u8]) -> Result<usize, Error> {
        self.read(offset, into, true)
    }

    fn read(&mut self, offset: u64, into: &mut [u8], some: bool) -> Result<usize, Error> {
        if let Some(len) = self.len {
            self.check_len(len)?;
        }
        let mut filled = 0;
        while filled < into.len() && !(some && filled > 0) {
            let at = offset.saturating_add(filled as u64);
            if self.len.is_some_and(|len| at >= len) || at == u64::MAX {
                break;
            }
            if self.reach(at)? {
                filled += self.take(&mut into[filled..])?;
            } else {
                let wanted = at.saturating_add((into.len() - filled) as u64);
                self.request(at, wanted.max(self.expected))?;
            }
        }
        Ok(filled)
    }

    /// Whether the open answer stands at `at`, after bytes before it were thrown away.
    fn reach(&mut self, at: u64) -> Result<bool, Error> {
        let mut scrap = [0; 8192];
        loop {
            let Some(open) = &self.open else { return Ok(false) };
            let gap = at.checked_sub(open.position);
            let ahead = gap.filter(|_| at < open.end);
            let near = ahead.filter(|&gap| gap <= GAP_MAX || !self.mirrors[open.mirror].ranges);
            match near {
                Some(0) => return Ok(true),
                Some(gap) => {
                    let most = gap.min(scrap.len() as u64) as usize;
                    // A small gap needs no bound: each one is a wish of the caller.
                    let counts = !self.mirrors[open.mirror].ranges;
                    if counts {
                        self.may_discard(most as u64)?;
                    }
                    let came = self.read_body(&mut scrap[..most])?;
                    self.discarded += if counts { came as u64 } else { 0 };
                }
                None => {
                    self.open = None;
                    return Ok(false);
                }
            }
        }
    }

    /// Bytes are thrown away within bounds only: a server without ranges sends the file from its
    /// beginning for every step backwards.
    fn may_discard(&self, bytes: u64) -> Result<(), Error> {
        let most = self.len.unwrap_or(0).saturating_mul(4).saturating_add(DISCARD_MIN);
        match &self.open {
            Some(open) if self.discarded + bytes > most => Err(open.place.answer(
                open.status,
                format_args!(
                    "it has no ranges, and {} bytes were read in vain; fetch the file as a whole",
                    self.discarded
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Reads bytes for the caller; none if the answer failed and another one has to be asked for.
    fn take(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        let came = self.read_body(into)?;
        self.progress += came as u64;
        if self.progress >= PROGRESS_MIN {
            self.progress = 0;
            self.rounds = 0;
        }
        Ok(came)
    }

    /// Reads from the open answer; closes it at its end and when it fails.
    fn read_body(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        let Some(open) = &mut self.open else { return Ok(0) };
        let most = open.end.saturating_sub(open.position).min(into.len() as u64) as usize;
        let mirror = open.mirror;
        let failure = match open.body.read(&mut into[..most]) {
            Ok(0) => Failure {
                error: open.place.network(format_args!(
                    "the body ended at byte {}, expected it to go on to byte {}",
                    open.position, open.end
                )),
                then: Then::Retry(Duration::ZERO),
            },
            Ok(came) => {
                self.served = Some(mirror);
                open.position += came as u64;
                self.received += came as u64;
                if open.position == open.end {
                    // The connection can be used again once the client saw the end of the body.
                    if open.has_length {
                        let _ = open.body.read(&mut [0]);
                    }
                    self.open = None;
                }
                return Ok(came);
            }
            Err(error) => broken_body(open, &error, &self.meter, &self.options),
        };
        self.open = None;
        self.note(mirror, failure)?;
        Ok(0)
    }

    /// Opens an answer that stands at `start` or before it, by whichever mirror gives one. The
    /// file may turn out to end before `start`; then the length is known afterwards, and nothing
    /// is open.
    fn request(&mut self, start: u64, end: u64) -> Result<(), Error> {
        let end = end.max(start + 1).min(self.len.unwrap_or(u64::MAX));
        loop {
            let Some(number) = self.choose(start) else {
                self.next_round()?;
                continue;
            };
            match self.ask(number, start, end) {
                Ok(open) => {
                    self.open = open;
                    return Ok(());
                }
                Err(failure) => self.note(number, failure)?,
            }
        }
    }

    /// The mirror that failed least, of those that can be asked now. One without ranges comes last
    /// where it would have to send bytes in vain.
    fn choose(&self, start: u64) -> Option<usize> {
        let usable = self.mirrors.iter().enumerate().filter(|(_, m)| !m.out && !m.aside);
        usable.min_by_key(|(_, m)| (!m.ranges && start > 0, m.failures)).map(|(number, _)| number)
    }

    /// Waits before all mirrors are asked once more.
    fn next_round(&mut self) -> Result<(), Error> {
        self.rounds += 1;
        if self.rounds >= self.options.attempts || self.mirrors.iter().all(|mirror| mirror.out) {
            return Err(self.give_up());
        }
        let backoff = self.options.backoff;
        let doubled = backoff.first.saturating_mul(1 << (self.rounds - 1).min(16));
        let most = doubled.min(backoff.longest);
        // Keys of a hash map are the chance that the standard library has.
        let chance = RandomState::new().build_hasher().finish() as u32;
        let wait = most / 2 + (most / 2).mul_f64(f64::from(chance) / f64::from(u32::MAX));
        (self.options.sleep)(wait.max(self.retry_after.min(backoff.longest)));
        self.retry_after = Duration::ZERO;
        for mirror in &mut self.mirrors {
            mirror.aside = false;
        }
        Ok(())
    }

    fn give_up(&mut self) -> Error {
        // The next call starts again with the mirrors that are left, if there are any.
        self.rounds = 0;
        for mirror in &mut self.mirrors {
            mirror.aside = false;
        }
        let mut errors: Vec<Error> =
            self.mirrors.iter().filter_map(|mirror| mirror.error.clone()).collect();
        if errors.len() == 1 { errors.remove(0) } else { Error::Mirrors(errors) }
    }

    /// Draws the consequences of a failure; returns the error if it is the end.
    fn note(&mut self, number: usize, failure: Failure) -> Result<(), Error> {
        let mirror = &mut self.mirrors[number];
        mirror.failures = mirror.failures.saturating_add(1);
        mirror.aside = true;
        match failure.then {
            Then::Again => {}
            Then::Retry(after) => self.retry_after = self.retry_after.max(after),
            Then::Out => mirror.out = true,
            Then::Stop => return Err(failure.error),
        }
        mirror.error = Some(failure.error);
        Ok(())
    }

    /// Asks one mirror for the bytes from `start` to before `end`, and judges the answer.
    fn ask(&mut self, number: usize, start: u64, end: u64) -> Result<Option<Open>, Failure> {
        let mirror = &self.mirrors[number];
        let asked = Asked(mirror.ranges.then_some(start..end));
        let mut place = Place { url: mirror.url.clone(), asked };
        let mut trusted = true;
        let mut last = 0;
        for _ in 0..=REDIRECTS_MAX {
            let answer = match self.send(number, &place, trusted) {
                Err(Failure { then: Then::Again, .. }) => {
                    self.mirrors[number].agents.clear();
                    self.send(number, &place, trusted)
                }
                result => result,
            }?;
            let status = answer.status().as_u16();
            last = status;
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                return self.judge(number, start, place, answer);
            }
            let next = follow(&place, status, answer.headers()).map_err(|e| e.then(Then::Out))?;
            // Once away from the server, the path is a stranger's choice, at this server as well.
            trusted = trusted && next.origin() == place.url.origin();
            place.url = next;
        }
        let to = place.url.to_string();
        let what = format_args!("expected {REDIRECTS_MAX} redirects at most");
        Err(place.redirect(last, to, what).then(Then::Out))
    }

    fn send(
        &mut self,
        number: usize,
        place: &Place,
        trusted: bool,
    ) -> Result<Response<ureq::Body>, Failure> {
        let agent = self.agent(number, &place.url, trusted).map_err(|e| e.then(Then::Stop))?;
        let mut request = agent.get(place.url.uri().clone());
        if let Some(range) = &place.asked.0 {
            // Some servers refuse a last byte that does not fit in 63 bits.
            let value = match range.end {
                u64::MAX => format!("bytes={}-", range.start),
                end => format!("bytes={}-{}", range.start, end - 1),
            };
            request = request.header(header::RANGE, value);
            let validator = self.mirrors[number].validator.as_ref();
            if let Some(value) = validator.and_then(Validator::for_if_range) {
                request = request.header(header::IF_RANGE, value);
            }
        }
        if let Some(value) = self.credentials.authorization.as_ref().filter(|_| trusted) {
            request = request.header(header::AUTHORIZATION, value);
        }
        // For requests through a tunnel the client itself tells the proxy who asks.
        if !place.url.is_secure()
            && let Some(proxy) = self.options.proxies.of(&place.url)
            && let Some(value) = &proxy.authorization
        {
            request = request.header(header::PROXY_AUTHORIZATION, value);
        }
        self.meter.begin();
        request.call().map_err(|error| {
            // The server closed a connection that was kept: that is its right, and no failure.
            let then = match &error {
                ureq::Error::Io(io) if self.meter.has_reused() && is_closed(io) => Then::Again,
                _ => return failed(place, &error, &self.meter, &self.options),
            };
            place.network(error).then(then)
        })
    }

    fn agent(&mut self, number: usize, url: &Url, trusted: bool) -> Result<Agent, Error> {
        let origin = url.origin();
        let known = &self.mirrors[number].agents;
        let known = known.iter().find(|(o, t, _)| *o == origin && *t == trusted);
        if let Some((_, _, agent)) = known {
            return Ok(agent.clone());
        }
        if url.is_secure() && self.roots.is_none() {
            self.roots = Some(credentials::roots(&self.options)?);
        }
        let roots = self.roots.clone().filter(|_| url.is_secure());
        let credentials = trusted.then_some(&self.credentials);
        let agent = line::agent(url, &self.options, roots, credentials, &self.meter)?;
        let agents = &mut self.mirrors[number].agents;
        if agents.len() >= AGENTS_MAX {
            agents.remove(0);
        }
        agents.push((origin, trusted, agent.clone()));
        Ok(agent)
    }

    /// Decides what an answer is worth.
    fn judge(
        &mut self,
        number: usize,
        start: u64,
        place: Place,
        answer: Response<ureq::Body>,
    ) -> Result<Option<Open>, Failure> {
        let status = answer.status().as_u16();
        let headers = answer.headers();
        let refuse = |what: String| place.answer(status, what).then(Then::Out);
        if matches!(status, 200 | 206) {
            answer::check_coding(headers).map_err(refuse)?;
        }
        let (position, end, total) = match (status, &place.asked.0) {
            (206, Some(asked)) => {
                let found = answer::content_range(headers).map_err(refuse)?;
                part(asked, found, headers).map_err(refuse)?
            }
            (200, asked) => {
                let total = answer::content_length(headers).map_err(refuse)?;
                let total = total
                    .or(self.len)
                    .ok_or_else(|| refuse("it does not say how long the file is".to_owned()))?;
                if asked.is_some() {
                    self.mirrors[number].ranges = false;
                }
                (0, total, total)
            }
            (416, Some(_)) => {
                let total = match answer::content_range(headers) {
                    Ok(ContentRange::Unsatisfied { total }) => total,
                    Ok(part) => return Err(refuse(format!("expected no bytes, found {part:?}"))),
                    Err(what) => return Err(refuse(what)),
                };
                self.accept(number, &place, headers, total)?;
                if total > start {
                    let what = format!("it says that a file of {total} bytes has no such range");
                    return Err(refuse(what));
                }
                return Ok(None);
            }
            (408 | 425 | 429 | 500..=599, _) => {
                let after = answer::retry_after(headers).unwrap_or_default();
                return Err(place.status(status).then(Then::Retry(after)));
            }
            (400..=499, _) => return Err(place.status(status).then(Then::Out)),
            _ => return Err(refuse("expected status 206 or 200".to_owned())),
        };
        self.accept(number, &place, headers, total)?;
        if end == position {
            // An empty file.
            return Ok(None);
        }
        self.mirrors[number].used = true;
        let has_length = headers.contains_key(header::CONTENT_LENGTH)
            && !headers.contains_key(header::TRANSFER_ENCODING);
        let body = answer.into_body().into_with_config().limit(u64::MAX).reader();
        let body = Box::new(body);
        Ok(Some(Open { mirror: number, place, status, position, end, has_length, body }))
    }

    /// Takes the version that an answer names, if it is the one that is known.
    fn accept(
        &mut self,
        number: usize,
        place: &Place,
        headers: &HeaderMap,
        total: u64,
    ) -> Result<(), Failure> {
        let mirror = &mut self.mirrors[number];
        // A mirror that gave nothing yet may simply have another file; the others go on.
        let then = if mirror.used { Then::Stop } else { Then::Out };
        let now = Validator::of(headers);
        if let (Some(old), Some(new)) = (&mirror.validator, &now)
            && old.differs(new)
        {
            return Err(place.changed(old.shown(), new.shown()).then(then));
        }
        if let Some(len) = self.len
            && len != total
        {
            let (before, now) = (format!("{len} bytes long"), format!("{total} bytes long"));
            return Err(place.changed(before, now).then(then));
        }
        let most = self.options.len_max;
        if total > most {
            let url = place.url.to_string();
            return Err(Error::TooLong { url, len: total, most }.then(Then::Out));
        }
        if mirror.validator.is_none() {
            mirror.validator = now;
        }
        self.len = Some(total);
        Ok(())
    }

    /// A length that the caller remembers has the same bound as one that a server tells.
    fn check_len(&self, len: u64) -> Result<(), Error> {
        let most = self.options.len_max;
        if len > most {
            return Err(Error::TooLong { url: self.mirrors[0].url.to_string(), len, most });
        }
        Ok(())
    }
}

impl std::fmt::Debug for Remote {
    /// Without credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let urls: Vec<&Url> = self.mirrors.iter().map(|mirror| &mirror.url).collect();
        f.debug_struct("Remote")
            .field("urls", &urls)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl Mirror {
    fn new(url: Url) -> Self {
        Self {
            url,
            validator: None,
            used: false,
            ranges: true,
            failures: 0,
            aside: false,
            out: false,
            error: None,
            agents: Vec::new(),
        }
    }
}

/// The positions of a part that begins where it was asked for.
fn part(
    asked: &Range<u64>,
    found: ContentRange,
    headers: &HeaderMap,
) -> Result<(u64, u64, u64), String> {
    let ContentRange::Part { start, end, total } = found else {
        return Err("expected bytes, found none in its Content-Range".to_owned());
    };
    if start != asked.start {
        return Err(format!("expected bytes from {} on, found bytes from {start} on", asked.start));
    }
    // A server may give less than was asked for, but not byte by byte: no rate would show that.
    let least = (asked.end.min(total) - start).min(PROGRESS_MIN);
    if end - start < least {
        return Err(format!("expected {least} bytes at least, found {}", end - start));
    }
    match answer::content_length(headers)? {
        Some(len) if len != end - start => {
            Err(format!("expected {} bytes in its body, found {len}", end - start))
        }
        _ => Ok((start, end, total)),
    }
}

/// Where a redirect leads, if that is allowed.
fn follow(place: &Place, status: u16, headers: &HeaderMap) -> Result<Url, Error> {
    let mut values = headers.get_all(header::LOCATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(place.answer(status, "expected one Location"));
    };
    let text = value.to_str().map_err(|_| place.answer(status, "expected a Location in ASCII"))?;
    let next = place.url.join(text).map_err(|error| {
        // What follows the scheme can hold a password.
        let scheme = text.split(':').next().unwrap_or_default();
        place.redirect(status, shown(format!("{scheme}:...").as_bytes()), error)
    })?;
    if place.url.is_secure() && !next.is_secure() {
        return Err(place.redirect(status, next.to_string(), "it leads from https to http"));
    }
    Ok(next)
}

/// Whether the other side ended the connection.
fn is_closed(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected
    )
}

/// Why no answer came.
fn failed(place: &Place, error: &ureq::Error, meter: &Meter, options: &Options) -> Failure {
    let retry = Then::Retry(Duration::ZERO);
    if meter.has_stalled() {
        return stalled(place, options).then(retry);
    }
    if let Some(error) = tls_error(error) {
        return tls(place, error).then(Then::Out);
    }
    match error {
        ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..) => {
            place.answer(0, error).then(Then::Out)
        }
        ureq::Error::Tls(what) => place.tls(what).then(Then::Out),
        ureq::Error::ConnectProxyFailed(what) => {
            place.network(format_args!("the proxy refused the tunnel: {what}")).then(retry)
        }
        ureq::Error::Io(error) => place.network(error).then(retry),
        ureq::Error::Timeout(phase) => {
            place.network(format_args!("the time for this step is over: {phase}")).then(retry)
        }
        error => place.network(error).then(retry),
    }
}

/// Why a body broke off.
fn broken_body(open: &Open, error: &std::io::Error, meter: &Meter, options: &Options) -> Failure {
    let retry = Then::Retry(Duration::ZERO);
    if meter.has_stalled() {
        return stalled(&open.place, options).then(retry);
    }
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>());
    if let Some(ureq::Error::Protocol(what)) = inner {
        return open.place.answer(open.status, what).then(Then::Out);
    }
    let what = format_args!("the body broke off at byte {}: {error}", open.position);
    open.place.network(what).then(retry)
}

fn stalled(place: &Place, options: &Options) -> Error {
    let stall = options.stall;
    place.network(format_args!(
        "stalled: expected {} bytes per second over {} seconds at least",
        stall.bytes_per_second_min,
        stall.window.as_secs_f32()
    ))
}

fn tls_error(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

fn tls(place: &Place, error: &rustls::Error) -> Error {
    use rustls::CertificateError as Bad;
    let advice = match error {
        rustls::Error::InvalidCertificate(bad) => match bad {
            Bad::Expired
            | Bad::ExpiredContext { .. }
            | Bad::NotValidYet
            | Bad::NotValidYetContext { .. } => "; is the clock of this machine right?",
            Bad::UnknownIssuer => {
                "; --cacert or SSL_CERT_FILE names its certificate authority if it is one of your own"
            }
            _ => "",
        },
        rustls::Error::AlertReceived(_) => "; does the server expect a client certificate?",
        _ => "",
    };
    place.tls(format_args!("{error}{advice}"))
}
