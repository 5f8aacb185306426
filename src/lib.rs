//! Decides when a runsc sandbox must be ended and how, without touching the world.
//!
//! # Contract
//!
//! [`Guard::handle`](guard::Guard::handle) takes one [`Input`](io::Input) and the present;
//! [`Guard::poll_output`](guard::Guard::poll_output) is drained until it has nothing more;
//! [`Guard::poll_timeout`](guard::Guard::poll_timeout) says which [timer](timers::Timer) needs a
//! [`Tick`](io::Input::Tick), and when, unless another input comes first. A tick that is early or repeated does
//! no harm. This crate has no clock, file, environment or thread (`no_std`), so that every interleaving of
//! replies, exits, crashes and deadlines can be tried in simulated time.
//!
//! # Map
//!
//! `guard` is the whole interface; `state` holds the parts, each with fields of its own (`task`, `inflight`,
//! `exits::memory`, `phase`, `probe`, `watchdog`, `recall`, `vacancy`, `timers`, `present`). `method` has what each
//! request and its response do, `escalation` what a passed deadline does. No file imports another in a circle.
//!
//! ```
//! use runsc_guard_core::guard::Guard;
//! use runsc_guard_core::io::{
//!     Input, Outcome, Output, ProcessId, ProcessSpec, Request, RequestId, ResponseInfo, Step,
//! };
//! use runsc_guard_core::policy::Policy;
//! use runsc_guard_core::time::Time;
//! use runsc_guard_core::timers::Timer;
//!
//! let mut guard = Guard::new(Policy::default(), "box".into(), "box".into());
//! let ask = |id, request| Input::Request { id: RequestId(id), request, caller: None };
//! // The whole driver: hand one input in, do what comes out.
//! let step = |guard: &mut Guard, millis, input| {
//!     guard.handle(Time::from_millis(millis), input);
//!     std::iter::from_fn(|| guard.poll_output()).collect::<Vec<_>>()
//! };
//!
//! // A container is created and started; the real shim answers at once.
//! let begin = [Request::Create("box".into(), ProcessSpec::default()), Request::Start(ProcessId::init("box"))];
//! for (id, request) in begin.into_iter().enumerate() {
//!     let outputs = step(&mut guard, 0, ask(id as u64, request));
//!     let Output::Forward { call, .. } = outputs[0] else { panic!() };
//!     step(&mut guard, 1, Input::Returned(call, Outcome::Done(ResponseInfo::Pid(7))));
//! }
//! assert_eq!(guard.poll_timeout(), None);
//!
//! // SIGKILL is forwarded, and nothing comes back: ten seconds later the escalation begins.
//! let kill = Request::Kill { process: ProcessId::init("box"), signal: 9, all: false };
//! step(&mut guard, 1_000, ask(2, kill));
//! let due = guard.poll_timeout();
//! assert_eq!(due, Some((Timer::Effect, Time::from_millis(11_000))));
//! let outputs = step(&mut guard, 11_000, Input::Tick);
//! assert!(outputs.iter().any(|output| matches!(output, Output::Step(Step::Diagnose, _))));
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod answers;
pub mod error;
mod escalation;
pub mod exit;
mod exits;
pub mod guard;
mod inflight;
pub mod io;
mod method;
mod node;
mod phase;
pub mod policy;
mod present;
mod probe;
mod recall;
mod settle;
mod signals;
mod state;
mod task;
#[cfg(test)]
mod tests;
pub mod time;
pub mod timers;
mod vacancy;
pub mod view;
mod watchdog;
