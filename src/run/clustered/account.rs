//! What is shown of the tasks while they run, and reported of the cluster afterwards.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use super::super::driver::Driver;
use super::super::record::Live;
use crate::cluster::engine::{Account, JobReport};
use crate::cluster::order::Sums;
use crate::report::ClusterReport;

impl Driver<'_> {
    /// What is reported of the cluster, once there is one.
    pub(in crate::run) fn cluster(&self) -> MutexGuard<'_, Option<ClusterReport>> {
        let report = self.cluster.lock();
        report.expect("no one panics holding this lock")
    }

    /// Shows that the engine starts, at the stages that will be first.
    pub(super) fn show_start(&self) {
        let mut fragments = self.plan.fragments.iter();
        let first = fragments.find(|fragment| fragment.on_cluster);
        for stage in first.map_or(&[][..], |fragment| &fragment.stages) {
            let live = &self.records[stage.at].live;
            live.begun.store(true, Ordering::Relaxed);
            live.wait_reason.set("waits for Spark to start".into());
        }
    }

    /// The engine takes tasks.
    pub(super) fn begin_account(&self, engine: &str, start: Duration) {
        *self.cluster() = Some(ClusterReport {
            engine: engine.to_owned(),
            start_s: start.as_secs_f64(),
            ..ClusterReport::default()
        });
    }

    /// A job has been done.
    pub(super) fn account_of_job(&self, done: &JobReport) {
        if let Some(report) = &mut *self.cluster() {
            report.tasks += done.reports.len() as u64;
            report.cpu_s += done.sums.cpu().as_secs_f64();
            let peaks = done.reports.iter().map(|report| report.peak_rss_bytes);
            report.task_peak_rss_bytes = peaks.fold(report.task_peak_rss_bytes, u64::max);
        }
    }

    /// The engine has ended.
    pub(super) fn account_of_cluster(&self, account: &Account) {
        if let Some(report) = &mut *self.cluster() {
            report.failed_tasks = account.failed_tasks;
            report.lost_executors = account.lost_executors;
            report.exchanged_bytes = account.exchanged_bytes;
        }
    }
}

/// Shows how much of the work of these stages the tasks have done that have ended.
pub(super) fn show_rows(live: &[Arc<Live>], sums: &Sums) {
    for (position, live) in live.iter().enumerate() {
        live.rows_in.store(sums.rows(position), Ordering::Relaxed);
        let bytes_done = live.bytes_done.lock();
        if let Some(bytes) = &*bytes_done.expect("no one panics holding this lock") {
            bytes.store(sums.read_bytes(), Ordering::Relaxed);
            // Bytes that were read are through.
            live.batches_read.store(1, Ordering::Relaxed);
            live.batches_done.store(1, Ordering::Relaxed);
        }
    }
}
