//! From what the arguments name to inputs: files, folders, standard input, objects of S3.

use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use access_events::input::Walk;
use access_events::{Input, walk};
use anyhow::Context;
use pipeline::objects::{AHEAD, Objects, S3Prefix, objects};

use crate::cli::{ExtractArgs, Place, Target};
use crate::exit::{ExitCode, Failure};
use crate::progress::Progress;
use crate::target::Opened;

/// A source as the arguments name it.
pub(super) enum Source {
    Stdin,
    Files(String),
    S3(S3Prefix),
}

impl Source {
    /// Reads the arguments.
    pub(super) fn all(args: &ExtractArgs) -> anyhow::Result<Vec<Self>> {
        let stdin = args.sources.iter().filter(|source| *source == "-").count();
        if stdin > 1 {
            return Err(Failure::usage("stdin (`-`) can be read only once").into());
        }
        args.sources.iter().map(|text| Self::of(text)).collect()
    }

    fn of(text: &str) -> anyhow::Result<Self> {
        Ok(match text {
            "-" => Self::Stdin,
            // A bucket in other letters is more likely meant than a folder called `S3:`.
            text if text
                .get(..5)
                .is_some_and(|start| start.eq_ignore_ascii_case("s3://")) =>
            {
                Self::S3(text.parse()?)
            }
            text => Self::Files(text.to_owned()),
        })
    }
}

/// The sources, opened as far as they have to be to know that they are there.
pub(super) struct Sources {
    list: Vec<Listed>,
    services: Option<Opened>,
}

struct Listed {
    name: String,
    inputs: Inputs,
}

enum Inputs {
    Stdin(Option<Input>),
    Walk(Walk),
    Objects(Objects),
}

impl Sources {
    /// Looks for everything; begins to list what is in S3.
    pub(super) async fn open(
        args: &ExtractArgs,
        sources: Vec<Source>,
        progress: &Arc<Progress>,
    ) -> anyhow::Result<Self> {
        let mut opened = Self {
            list: Vec::new(),
            services: None,
        };
        let result = opened.add(args, sources, progress).await;
        match result {
            Ok(()) => Ok(opened),
            Err(error) => {
                opened.close().await;
                Err(error)
            }
        }
    }

    async fn add(
        &mut self,
        args: &ExtractArgs,
        sources: Vec<Source>,
        progress: &Arc<Progress>,
    ) -> anyhow::Result<()> {
        for source in sources {
            let (name, inputs) = match source {
                Source::Stdin => {
                    let input = Input::new("stdin", || Ok(Box::new(io::stdin())));
                    ("stdin".to_owned(), Inputs::Stdin(Some(input)))
                }
                Source::Files(path) => {
                    // What is not there is told before anything is read.
                    Path::new(&path)
                        .metadata()
                        .with_context(|| format!("`{path}` cannot be read"))?;
                    (path.clone(), Inputs::Walk(walk(path)))
                }
                Source::S3(place) => {
                    let services = match &mut self.services {
                        Some(services) => services,
                        none => none.insert(Opened::open(&args.place, progress).await?),
                    };
                    progress.now(&format!("listing {place}"));
                    let inputs = objects(&services.clients, &place, AHEAD).await;
                    let inputs = inputs.map_err(|error| with_cure(error, &args.place))?;
                    (place.to_string(), Inputs::Objects(inputs))
                }
            };
            self.list.push(Listed { name, inputs });
        }
        Ok(())
    }

    /// The inputs, one after the other, for a thread of its own.
    pub(super) fn take(&mut self, watch: &Arc<Watch>) -> Queue {
        Queue {
            list: std::mem::take(&mut self.list).into_iter(),
            now: None,
            watch: Arc::clone(watch),
        }
    }

    /// Stops the local services, if there are any.
    pub(super) async fn close(self) {
        if let Some(services) = self.services {
            services.close().await;
        }
    }
}

/// The default target has only what was put there.
fn with_cure(error: pipeline::Error, place: &Place) -> anyhow::Error {
    match error {
        pipeline::Error::NoBucket { bucket } if place.target == Target::Local => Failure::file(format!(
            "there is no bucket `{bucket}` in the local services; --target aws reads from the account"
        ))
        .into(),
        error => error.into(),
    }
}

/// What goes on, for whoever shows it, and whether it is to stop.
#[derive(Default)]
pub(super) struct Watch {
    stop: AtomicBool,
    pub(super) inputs: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) pairs: AtomicU64,
    /// The input that was opened last, or what is done after them.
    now: Mutex<String>,
    /// What came in place of more inputs.
    failure: Mutex<Option<anyhow::Error>>,
}

impl Watch {
    /// Ends the work as soon as it looks.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Fails when the work is to end.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.is_stopped() {
            return Err(io::Error::other(interrupted()));
        }
        Ok(())
    }

    pub(super) fn tell(&self, now: &str) {
        now.clone_into(&mut lock(&self.now));
    }

    /// The input that was opened last, or what is done after them.
    pub(super) fn now(&self) -> String {
        lock(&self.now).clone()
    }

    fn fail(&self, error: impl Into<anyhow::Error>) {
        lock(&self.failure).get_or_insert(error.into());
    }

    /// Why there were no more inputs, if not because there are none.
    pub(super) fn failure(&self) -> Option<anyhow::Error> {
        lock(&self.failure).take()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ctrl-C.
pub(super) fn interrupted() -> Failure {
    Failure {
        code: ExitCode::Interrupted,
        ..Failure::usage("interrupted; nothing was written to files")
    }
}

/// The inputs of all sources. It ends early when a listing fails or nothing is in a source; the [`Watch`] knows.
pub(super) struct Queue {
    list: std::vec::IntoIter<Listed>,
    now: Option<(Listed, bool)>,
    watch: Arc<Watch>,
}

impl Iterator for Queue {
    type Item = Input;

    fn next(&mut self) -> Option<Input> {
        loop {
            if self.watch.is_stopped() {
                return None;
            }
            let (listed, any) = match &mut self.now {
                Some(now) => now,
                none => none.insert((self.list.next()?, false)),
            };
            let next = match &mut listed.inputs {
                Inputs::Stdin(input) => input.take(),
                Inputs::Walk(walk) => walk.next(),
                Inputs::Objects(objects) => match objects.next() {
                    Some(Ok(object)) => Some(Input::new(object.uri, move || {
                        let mut body = object.body;
                        body.wait().map_err(io::Error::other)?;
                        Ok(Box::new(body))
                    })),
                    Some(Err(error)) => {
                        self.watch.fail(error);
                        return None;
                    }
                    None => None,
                },
            };
            match next {
                Some(input) => {
                    *any = true;
                    return Some(watched(input, &self.watch));
                }
                None if !*any => {
                    self.watch.fail(Failure::file(format!(
                        "there is nothing to read in `{}`",
                        listed.name
                    )));
                    return None;
                }
                None => self.now = None,
            }
        }
    }
}

/// The input with its bytes counted, and cut off when the work is to end.
fn watched(input: Input, watch: &Arc<Watch>) -> Input {
    let watch = Arc::clone(watch);
    let name = input.name().to_owned();
    input.through(move |bytes| {
        watch.inputs.fetch_add(1, Ordering::Relaxed);
        watch.tell(&name);
        Box::new(Watched { bytes, watch })
    })
}

struct Watched {
    bytes: Box<dyn Read + Send>,
    watch: Arc<Watch>,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.watch.check()?;
        let read = self.bytes.read(buffer)?;
        self.watch.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
