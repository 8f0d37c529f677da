//! A database per service: transactions with group commit, migrations, outbox, inbox, timers.
