use super::MemoryStore;
use crate::testing::contract;

#[tokio::test]
async fn keeps_the_contract() {
    contract::check(&MemoryStore::new()).await;
    contract::check_writing(&MemoryStore::new()).await;
}
