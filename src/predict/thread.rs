//! One OS thread owns one session: ONNX Runtime's `Run` is not to be called from two at once, and a
//! compute-bound run has no place on an async runtime's thread.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    thread::{Builder, JoinHandle},
};

use super::{
    DeviceId, Library, Session, SessionSpec, Stopper,
    cuda::{self, Counted},
};
use crate::{fault::Fault, message::rejection::Stage, tensor::Signature};

type Job = Box<dyn FnOnce(&mut Session) + Send>;

/// The OS thread that opened a [`Session`], runs it, and drops it.
///
/// Dropping this ends the thread, and returns when the session is gone.
#[derive(Debug)]
pub struct SessionThread {
    // Dropped in this order: without a sender the thread ends, and can be joined.
    jobs: mpsc::Sender<Job>,
    thread: ThreadGuard,
    signature: Signature,
    stopper: Stopper,
}

/// A session's thread; dropping this waits for its end.
#[must_use = "dropping it blocks until the thread has ended"]
#[derive(Debug)]
pub struct ThreadGuard(Option<JoinHandle<()>>);

impl ThreadGuard {
    /// Leaves the thread to end by itself.
    pub fn release(mut self) {
        self.0 = None;
    }
}

impl Drop for ThreadGuard {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // A panic in there was its own affair; all that matters here is that it is over.
            let _ = thread.join();
        }
    }
}

impl SessionThread {
    /// Starts a thread that opens `spec`, and blocks until it has. `name` shows in tools that list threads.
    ///
    /// # Errors
    /// Those of [`Session::open`], or no thread could be started.
    pub fn spawn(library: &Library, name: &str, spec: SessionSpec) -> Result<Self, Fault> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (opened, opening) = mpsc::sync_channel(1);
        let library = library.clone();
        let counted = (spec.device != DeviceId::Cpu).then(Counted::new);
        let body = move || {
            let session = catch_unwind(AssertUnwindSafe(|| Session::open(&library, &spec)));
            let mut session = match session.unwrap_or_else(|_| Err(gone("opening the model"))) {
                Ok(session) => session,
                Err(fault) => return drop(opened.send(Err(fault))),
            };
            if opened
                .send(Ok((session.signature().clone(), session.stopper())))
                .is_ok()
            {
                for job in queue {
                    job(&mut session);
                }
            }
            drop(session);
            if spec.device != DeviceId::Cpu {
                cuda::unloaded();
            }
            drop(counted);
        };
        let name = format!("predict-{}", name.replace('\0', ""));
        let thread = Builder::new().name(name).spawn(body).map_err(|fault| {
            Fault::internal(Stage::Predict, format!("no thread for a session: {fault}"))
        })?;
        let (signature, stopper) = opening
            .recv()
            .unwrap_or_else(|_| Err(gone("opening the model")))?;
        Ok(SessionThread {
            jobs,
            thread: ThreadGuard(Some(thread)),
            signature,
            stopper,
        })
    }

    /// Ends the session's runs from another thread.
    #[must_use]
    pub fn stopper(&self) -> &Stopper {
        &self.stopper
    }

    /// See [`Session::signature`].
    #[must_use]
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Runs `f` on the session's thread and waits for what it gives.
    ///
    /// # Errors
    /// An internal fault when `f` panicked; the session stays usable.
    pub fn call<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Session) -> R + Send + 'static,
    ) -> Result<R, Fault> {
        let (answer, answered) = mpsc::sync_channel(1);
        let job: Job = Box::new(move |session| {
            let result = catch_unwind(AssertUnwindSafe(|| f(session)));
            let _ = answer.send(result);
        });
        self.jobs.send(job).map_err(|_| gone("a call"))?;
        match answered.recv() {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => Err(Fault::internal(Stage::Predict, "a panic in a session")),
            Err(_) => Err(gone("a call")),
        }
    }

    /// Runs `f` on the session's thread and waits for nothing: what is asked of it next begins when `f` is over.
    pub fn begin(&self, f: impl FnOnce(&mut Session) + Send + 'static) {
        let job: Job = Box::new(move |session| {
            // It is for whoever asks something next to find out that the session is of no use.
            let _ = catch_unwind(AssertUnwindSafe(|| f(session)));
        });
        let _ = self.jobs.send(job);
    }

    /// Gives the thread over to `f`: when it returns or panics, the session is dropped and the thread ends.
    pub fn detach(self, f: impl FnOnce(&mut Session) + Send + 'static) -> ThreadGuard {
        // Fails when the thread is gone, which shows in `f`'s captures being dropped.
        let _ = self.jobs.send(Box::new(f));
        self.thread
    }
}

fn gone(during: &str) -> Fault {
    Fault::internal(
        Stage::Predict,
        format!("a session's thread ended during {during}"),
    )
}
