//! Records, revisions, transactions and watch behind one trait; redb.
