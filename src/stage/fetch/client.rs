//! A session at work: the items of a batch become one request, its pages their records. Whatever happens,
//! each item is answered, empty or a reject.

use std::collections::HashSet;

use serde_json::Map;

use super::sender::{Failure, Request, Sender, Tally};
use super::session::Login;
use super::template::{Items, form};
use super::{Question, body_bytes};
use crate::batch::Batch;
use crate::clock::monotonic;
use crate::error::{Error, Result};
use crate::format::json::raw::{self, Pointer};
use crate::http::{HttpResponse, Url, shown};
use crate::schema::Schema;
use crate::stage::answers::{Reader, Records, Refusal, Resolution};
use crate::stage::{Counts, Job, Output, REQUESTS, Session, TaskContext, add_counts};

/// Asks, in one process.
pub(super) struct Client {
    pub(super) reader: Reader,
    /// The items' columns, if there are items.
    pub(super) input: Option<Schema>,
    pub(super) question: Question,
    pub(super) repeatable: bool,
    pub(super) split_on_error: bool,
    /// Where an answer has the URL of its next page.
    pub(super) next: Option<Pointer>,
    pub(super) max_pages: usize,
    pub(super) authorization: Option<(String, String)>,
    pub(super) sender: Sender,
    pub(super) login: Option<Login>,
}

/// Each in its turn: an error that ends the run, a failure that ends a request.
type Attempt<T> = Result<Result<T, Failure>>;

impl Session for Client {
    fn run(&self, batch: Batch, _task: TaskContext) -> Result<Output> {
        let mut tally = Tally::default();
        let from = monotonic();
        let mut output = match &self.input {
            None => self.ask_alone(&batch, &mut tally)?,
            Some(input) => {
                let mut resolution = self.reader.resolve(batch);
                self.refuse_unfit(&mut resolution, input);
                let open = resolution.open();
                if !open.is_empty() {
                    self.ask(&mut resolution, &open, false, input, &mut tally)?;
                }
                resolution.finish()?
            }
        };
        add_counts(&mut output.counts, tally.counts());
        output.job = tally.job.take().map(|job| Job {
            took_s: monotonic().saturating_sub(from).as_secs_f64(),
            extra: tally.requests.saturating_sub(1),
            ..job
        });
        Ok(output)
    }

    fn close(mut self: Box<Self>) -> Result<Counts> {
        let mut counts = Counts::new();
        if let Some(login) = self.login.take()
            && login.close(&self.sender)?
        {
            counts.insert("sessions_left_open".into(), 1);
        }
        Ok(counts)
    }
}

/// A run that ends early gives the server its session back too, if that takes no time.
impl Drop for Client {
    fn drop(&mut self) {
        if let Some(login) = self.login.take() {
            login.part(&self.sender);
        }
    }
}

/// What the run's log says of a request.
fn begun(request: &Request, sender: &Sender) -> Job {
    let host = request.url.host_str().unwrap_or_default();
    Job::begin(
        host,
        format!("{} {}", request.method, sender.clean(request.url.as_str())),
    )
}

impl Tally {
    fn counts(&self) -> Counts {
        let all = [
            (REQUESTS, self.requests),
            ("retries", self.retries),
            ("redirects", self.redirects),
            ("pages", self.pages),
            ("splits", self.splits),
            ("renewals", self.renewals),
        ];
        let some = all.into_iter().filter(|(_, count)| *count > 0);
        some.map(|(name, count)| (name.to_owned(), count)).collect()
    }
}

impl Client {
    /// Items with values that no request can have are not asked about.
    fn refuse_unfit(&self, resolution: &mut Resolution, input: &Schema) {
        for row in resolution.open() {
            let items = Items {
                schema: input,
                batch: resolution.batch(),
            };
            let question = &self.question;
            let in_headers = || {
                let mut values = question.headers.iter().map(|(_, value)| value);
                values.find_map(|value| value.refused_by_header(&items, row))
            };
            let in_body = || question.body.as_ref()?.refusal(&items, row);
            let refusal = question.url.refused_by_url(&items, row);
            if let Some(refusal) = refusal.or_else(in_headers).or_else(in_body) {
                resolution.refuse(row, &refusal);
            }
        }
    }

    /// Settles items by one request, or by halves of it where one of them may be what fails.
    fn ask(
        &self,
        resolution: &mut Resolution,
        rows: &[usize],
        extra: bool,
        input: &Schema,
        tally: &mut Tally,
    ) -> Result<()> {
        let items = Items {
            schema: input,
            batch: resolution.batch(),
        };
        let answered = self.pages(&items, rows, extra, tally)?;
        let answered = answered.and_then(|records| {
            let unmatched = |words| Failure {
                splits: true,
                ..Failure::new(words)
            };
            resolution.answer(rows, records).map_err(unmatched)
        });
        let Err(failure) = answered else {
            return Ok(());
        };
        if failure.splits && self.split_on_error && rows.len() > 1 {
            tally.splits += 1;
            let (first, second) = rows.split_at(rows.len() / 2);
            self.ask(resolution, first, true, input, tally)?;
            return self.ask(resolution, second, true, input, tally);
        }
        if let Some(job) = &mut tally.job {
            job.exit = 1;
        }
        let mut more = Map::new();
        if let Some(status) = failure.status {
            more.insert("status".to_owned(), status.into());
        }
        let refusal = Refusal {
            more,
            ..Refusal::new(self.sender.clean(&failure.reason))
        };
        for &row in rows {
            resolution.refuse(row, &refusal);
        }
        Ok(())
    }

    /// Without items: one request whose records are the rows.
    fn ask_alone(&self, batch: &Batch, tally: &mut Tally) -> Result<Output> {
        let items = Items {
            schema: &Schema::default(),
            batch,
        };
        match self.pages(&items, &[0], false, tally)? {
            Ok(records) => Ok(self.reader.rows(records)),
            Err(failure) => Err(Error::failed(self.sender.clean(&failure.reason))),
        }
    }

    /// The records of an answer and of all pages after it.
    fn pages(
        &self,
        items: &Items,
        rows: &[usize],
        extra: bool,
        tally: &mut Tally,
    ) -> Attempt<Records> {
        let mut request = match self.request(items, rows, extra) {
            Ok(request) => request,
            Err(failure) => return Ok(Err(failure)),
        };
        let job = tally
            .job
            .get_or_insert_with(|| begun(&request, &self.sender));
        job.sent += request.body.as_ref().map_or(0, |body| body.len() as u64);
        let mut records = self.reader.records();
        let mut seen = HashSet::from([request.url.clone()]);
        loop {
            let response = match self.authorized(&request, tally)? {
                Ok(response) => response,
                Err(failure) => return Ok(Err(failure)),
            };
            if let Some(job) = &mut tally.job {
                job.received += response.body.len() as u64;
            }
            let next = self
                .read(&response, &mut records)
                .and_then(|()| self.next_page(&response, &request.url));
            let url = match next {
                Ok(Some(url)) => url,
                Ok(None) => return Ok(Ok(records)),
                Err(reason) => {
                    return Ok(Err(Failure {
                        splits: true,
                        ..Failure::new(reason)
                    }));
                }
            };
            if seen.len() >= self.max_pages {
                let reason = format!("more pages than `max_pages` ({})", self.max_pages);
                return Ok(Err(Failure::new(reason)));
            }
            if !seen.insert(url.clone()) {
                let reason = format!("page `{}` comes a second time", shown(&url));
                return Ok(Err(Failure::new(reason)));
            }
            tally.pages += 1;
            request.url = url;
            request.extra = true;
        }
    }

    /// Adds what an answer holds. An error says why it is of no use.
    fn read(&self, response: &HttpResponse, records: &mut Records) -> Result<(), String> {
        if response.status == 204 || self.question.method == super::Method::Head {
            return Ok(());
        }
        self.reader.read(&response.body, records).map_err(|reason| {
            let ty = response.content_type.as_deref().unwrap_or("nothing");
            format!("{reason}; it says that it is `{ty}`")
        })
    }

    /// The URL of the page after this answer, which lies at `url`.
    fn next_page(&self, response: &HttpResponse, url: &Url) -> Result<Option<Url>, String> {
        let Some(pointer) = &self.next else {
            return Ok(None);
        };
        let body = String::from_utf8_lossy(&response.body);
        let next = match raw::find(&body, &pointer.0) {
            None | Some("null" | "false" | "\"\"") => return Ok(None),
            Some(next) if next.starts_with('"') => raw::text(next).unwrap_or_default(),
            Some(_) => return Err("where `next` points the answer has no text".into()),
        };
        let next = url
            .join(&next)
            .map_err(|error| format!("the next page's URL is none: {error}"))?;
        if next.origin() != url.origin() {
            return Err(format!(
                "the next page is at another server, `{}`",
                shown(&next)
            ));
        }
        Ok(Some(next))
    }

    /// The request about these items.
    fn request(&self, items: &Items, rows: &[usize], extra: bool) -> Result<Request, Failure> {
        let question = &self.question;
        let url = question.url.url(items, rows);
        let url = question
            .parse_url(&url)
            .map_err(|why| Failure::new(format!("the request's URL is {why}")))?;
        let mut headers: Vec<(String, String)> = question
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.header(items, rows)))
            .collect();
        let named = |name: &str| {
            let mut names = question.headers.iter().map(|(name, _)| name);
            names.any(|other| other.eq_ignore_ascii_case(name))
        };
        headers.extend(self.authorization.clone().filter(|(name, _)| !named(name)));
        let body = question.body.as_ref().map(|body| {
            let json = body.json(items, rows);
            body_bytes(&json, body.is_text(), &mut headers, form)
        });
        Ok(Request {
            method: question.method.as_str(),
            url,
            headers,
            body,
            repeatable: self.repeatable,
            extra,
            time: None,
        })
    }

    /// Sends a request with what the session gave; where that is no longer good, with another, once.
    fn authorized(&self, request: &Request, tally: &mut Tally) -> Attempt<HttpResponse> {
        let Some(login) = &self.login else {
            return self.sender.send_until_done(request, tally);
        };
        let mut renewed = false;
        loop {
            let (header, number) = login.header();
            let mut request = request.clone();
            request
                .headers
                .retain(|(name, _)| !name.eq_ignore_ascii_case(&header.0));
            request.headers.push(header);
            request.extra |= renewed;
            match self.sender.send_until_done(&request, tally)? {
                Err(failure) if failure.status == Some(401) && !renewed => {
                    login.renew(number, &self.sender, tally)?;
                    renewed = true;
                }
                attempt => return Ok(attempt),
            }
        }
    }
}
