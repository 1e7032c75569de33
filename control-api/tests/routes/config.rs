//! The routes of the configuration as a client sees them.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::fake::Fake;
use crate::storage::ask;

#[tokio::test]
async fn the_configuration_is_shown_by_its_parts() {
    let fake = Fake::default();
    let list = json!({ "itemCount": 1, "pageCount": 1, "items": [{ "name": "a" }] });
    for (uri, expected) in [
        ("/v3/config/global/get", json!({ "logLevel": "info" })),
        ("/v3/config/pathdefaults/get", json!({ "record": false })),
        ("/v3/config/paths/list", list),
        ("/v3/config/paths/get/a", json!({ "name": "a" })),
    ] {
        assert_eq!(ask(&fake, Method::GET, uri, None).await, (StatusCode::OK, expected), "{uri}");
    }
    assert_eq!(ask(&fake, Method::GET, "/v3/config/paths/get/b", None).await.0, StatusCode::NOT_FOUND);
    let page = ask(&fake, Method::GET, "/v3/config/paths/list?itemsPerPage=0", None).await;
    assert_eq!(page.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn changes_are_told_with_name_and_settings_and_refusals_have_mediamtxs_statuses() {
    let fake = Fake::default();
    let ok = json!({ "status": "ok" });
    let exists = json!({ "status": "error", "error": "path already exists" });
    let missing = json!({ "status": "error", "error": "path not found" });
    let body = || Some(json!({ "record": true }));
    for (method, uri, body, status, expected) in [
        (Method::PATCH, "global/patch", body(), StatusCode::OK, &ok),
        (Method::PATCH, "pathdefaults/patch", body(), StatusCode::OK, &ok),
        (Method::POST, "paths/add/city/cam_1", body(), StatusCode::OK, &ok),
        (Method::POST, "paths/add/b", body(), StatusCode::BAD_REQUEST, &exists),
        (Method::PATCH, "paths/patch/a", body(), StatusCode::OK, &ok),
        (Method::POST, "paths/replace/~%5Ea$", body(), StatusCode::OK, &ok),
        (Method::DELETE, "paths/delete/a", None, StatusCode::OK, &ok),
        (Method::DELETE, "paths/delete/b", None, StatusCode::NOT_FOUND, &missing),
    ] {
        let answer = ask(&fake, method, &format!("/v3/config/{uri}"), body).await;
        assert_eq!(answer, (status, expected.clone()), "{uri}");
    }
    let asked = fake.asked();
    assert!(asked[0].starts_with("Global(") && asked[0].contains("record"), "{asked:?}");
    assert!(asked[2].starts_with("AddPath(\"city/cam_1\""), "{asked:?}");
    assert!(asked[5].starts_with("ReplacePath(\"~^a$\""), "{asked:?}");
    let wrong = ask(&fake, Method::PATCH, "/v3/config/global/patch", Some(Value::Bool(true))).await;
    assert_eq!(wrong.0, StatusCode::BAD_REQUEST);
    assert_eq!(ask(&fake, Method::GET, "/v3/config/paths/add/a", None).await.0, StatusCode::NOT_FOUND);
}
