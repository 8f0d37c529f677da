//! How calls are made is said in the settings, for each service and each of its calls; it can be changed while the system
//! runs, what is wrong is refused by name, and `/metrics` shows what was decided.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use outrigger::{
    Error, Platform, Running, Settings, env, env::config::Loader, prelude::*, settings::Calls,
};

type Done = Result<(), BoxError>;

fn load(text: &str) -> Result<Settings, String> {
    let loader = Loader::default().text(Path::new("outrigger.toml"), text);
    loader
        .and_then(Loader::load)
        .map_err(|error| error.to_string())
}

fn calls(text: &str) -> Calls {
    load(text).expect(text).calls
}

#[test]
fn what_a_narrower_table_leaves_open_is_as_the_wider_one_says() {
    let policies = calls(
        r#"
        [calls.defaults]
        deadline = "2s"
        strategy = "round-robin"
        retry = { attempts = 3, backoff = "10ms" }
        bulkhead = true
        hedge = { after = "30ms" }

        [calls.user-service]
        connect_timeout = "300ms"
        retry = { attempts = 4 }
        outlier = false
        service_breaker = { failures = 7 }

        [calls.user-service.routes."GET /users/{id}"]
        deadline = "1s"
        hedge = false
        bulkhead = false

        [calls.user-service.routes."POST /users"]
        retry = false
        breaker = false
        "#,
    )
    .policies();
    let all = &policies.settings;
    assert_eq!(all.policy.deadline, Duration::from_secs(2));
    assert_eq!(all.strategy, discovery::balance::Strategy::RoundRobin);
    assert!(all.outlier.is_some() && all.policy.bulkhead.is_some());

    let users = policies.of("user-service");
    let retry = users.policy.retry.expect("on");
    assert_eq!(
        (retry.attempts, retry.backoff.base),
        (4, Duration::from_millis(10))
    );
    assert_eq!(users.connect, Duration::from_millis(300));
    assert_eq!(users.policy.deadline, Duration::from_secs(2));
    assert_eq!(users.outlier, None);
    let breaker = users.service_breaker.as_ref().expect("on");
    assert_eq!(breaker.failures, 7);
    assert_eq!(breaker.recovery_limit, Duration::from_secs(5), "as before");

    let one = &users.calls["GET /users/{id}"];
    assert_eq!(one.deadline, Duration::from_secs(1));
    assert!(one.hedge.is_none() && one.bulkhead.is_none() && one.breaker);
    assert_eq!(one.retry, users.policy.retry);
    let post = &users.calls["POST /users"];
    assert!(post.retry.is_none() && !post.breaker && post.hedge.is_some());
    assert_eq!(policies.of("order-service"), all);
}

#[test]
fn nothing_said_is_the_default() {
    let policies = Settings::default().calls.policies();
    assert_eq!(policies, discovery::Policies::default());
    assert_eq!(
        calls("[calls.a-service]").policies().of("a-service"),
        &policies.settings
    );
}

#[test]
fn what_is_wrong_is_named_with_its_key_and_the_nearest_right_one() {
    let route = "calls.user-service.routes.GET /users/{id}";
    for (text, said) in [
        ("[calls.defaults]\nretries = 3".to_owned(),
            "sets `calls.defaults.retries`, which does not exist; did you mean `calls.defaults.retry`?".to_owned()),
        ("[calls.user-service.rety]\nattempts = 3".to_owned(),
            "sets `calls.user-service.rety.attempts`, which does not exist; did you mean `calls.user-service.retry.attempts`?".to_owned()),
        ("[calls.user-service]\nretry = { attempt = 3 }".to_owned(),
            "sets `calls.user-service.retry.attempt`, which does not exist; did you mean `calls.user-service.retry.attempts`?".to_owned()),
        ("[calls.user-service.routes.\"GET /users/{id}\"]\nhegde = false".to_owned(),
            format!("sets `{route}.hegde`, which does not exist; did you mean `{route}.hedge`?")),
        ("[calls.user-service.routes.\"GET /users/{id}\"]\noutlier = false".to_owned(),
            format!("sets `{route}.outlier`, which does not exist")),
        ("[calls.user-service]\nretry = { attempts = 0 }".to_owned(),
            "sets `calls.user-service.retry.attempts` wrongly: invalid value: integer `0`, expected a nonzero u32".to_owned()),
        ("[calls.user-service]\nretry_budget = { share = 20 }".to_owned(),
            "sets `calls.user-service.retry_budget.share` wrongly: it is a share from 0 to 1, such as 0.2".to_owned()),
        ("[calls.user-service]\ndeadline = \"0s\"".to_owned(),
            "sets `calls.user-service.deadline` wrongly: it is more than 0s, and at most 24h".to_owned()),
        ("[calls.user-service]\nhedge = { after = \"5ms\", share = 0.9 }".to_owned(),
            "sets `calls.user-service.hedge.share` wrongly: a second request is sent `after` a time, or by `share` and `least`".to_owned()),
        ("[calls.user-service]\nbreaker = \"off\"".to_owned(),
            "sets `calls.user-service.breaker` wrongly: invalid type: string \"off\", expected `true`, `false` or a table of settings".to_owned()),
        ("[calls.user-service.routes.\"GTE /users\"]\nhedge = false".to_owned(),
            "sets `calls.user-service.routes.GTE /users.hedge` wrongly: `GTE /users` is no call: write its method and the template of its path, as in \"GET /users/{id}\"".to_owned()),
        ("[calls.defaults.routes.\"GET /users\"]\nhedge = false".to_owned(),
            "sets `calls.defaults.routes.GET /users.hedge` wrongly: a route is one of a service: write it below `calls.NAME.routes`".to_owned()),
    ] {
        let error = load(&text).expect_err(&text);
        assert!(error.starts_with(&format!("outrigger.toml {said}")), "{error}\nfor {text}");
    }
}

/// Refuses everything, and counts.
async fn refuse(counted: Arc<AtomicUsize>) -> StatusCode {
    counted.fetch_add(1, Ordering::Relaxed);
    StatusCode::SERVICE_UNAVAILABLE
}

async fn ask(State(ctx): State<Context>) -> Result<String, Rejection> {
    let answered = ctx
        .client("stock-service")?
        .get::<String>("/stock/{id}", &[&"lamp"])
        .await;
    Ok(match answered {
        Ok(_) => "answered".to_owned(),
        Err(error) => error.to_string(),
    })
}

/// A service that asks another one for each request, and that one, which refuses.
fn system(asked: &Arc<AtomicUsize>) -> System {
    let asked = Arc::clone(asked);
    let stock = Router::new().route("/stock/{id}", get(move || refuse(Arc::clone(&asked))));
    System::new("pair")
        .service(
            Service::new("stock-service")
                .boundary(Boundary::of("stock").apis(["/stock"]))
                .routes(stock),
        )
        .service(
            Service::new("order-service")
                .boundary(
                    Boundary::of("orders")
                        .apis(["/ask"])
                        .depends_on(["stock-service"]),
                )
                .routes(Router::new().route("/ask", get(ask))),
        )
        .gateway("[[route]]\npath = \"/ask\"\nmethods = [\"GET\"]\nservice = \"order-service\"")
}

async fn free() -> Result<std::net::SocketAddr, BoxError> {
    let listener = env::net::listen(([127, 0, 0, 1], 0).into()).await?;
    Ok(listener.local_addr()?)
}

async fn start(folder: &Path, file: &Path, asked: &Arc<AtomicUsize>) -> Result<Running, BoxError> {
    let mut settings = Settings::load(file, [])?;
    settings.data = folder.to_owned();
    settings.gateway.listen = free().await?;
    let platform = Platform::embedded(settings).await?;
    let system = system(asked);
    system.follow(&platform, file);
    Ok(system.start(platform).await?)
}

/// What `order-service` heard from `stock-service`.
async fn heard(running: &Running) -> Result<String, BoxError> {
    let gateway = outrigger::GatewayClient::new(running.gateway().ok_or("a gateway")?);
    Ok(gateway.get("/ask").await?.body.to_string())
}

#[tokio::test]
async fn go_zero_3580_a_policy_is_switched_off_for_one_route_and_changed_without_a_restart() -> Done
{
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("outrigger.toml");
    std::fs::write(
        &file,
        "[calls.stock-service]\nretry = { attempts = 3, backoff = \"1ms\" }\nbreaker = false\nservice_breaker = false\n",
    )?;
    let asked = Arc::new(AtomicUsize::new(0));
    let running = start(folder.path(), &file, &asked).await?;
    heard(&running).await?;
    assert_eq!(asked.swap(0, Ordering::Relaxed), 3);

    // Off for this one.
    let off = "[calls.stock-service.routes.\"GET /stock/{id}\"]\nretry = false\nbreaker = false\n";
    std::fs::write(&file, off)?;
    let once = async || -> Result<bool, BoxError> {
        asked.store(0, Ordering::Relaxed);
        heard(&running).await?;
        Ok(asked.load(Ordering::Relaxed) == 1)
    };
    let deadline = env::instant() + Duration::from_secs(20);
    while !once().await? {
        assert!(
            env::instant() < deadline,
            "the changed settings are never read"
        );
        env::sleep(Duration::from_millis(50)).await;
    }
    for _ in 0..40 {
        assert!(
            once().await?,
            "no second attempt, and no breaker that opens"
        );
    }

    // What cannot be used changes nothing.
    for wrong in [
        "[calls.stock-service]\nrety = 1",
        "[calls.stok-service]\nretry = true",
        "calls =",
    ] {
        std::fs::write(&file, wrong)?;
        env::sleep(Duration::from_millis(2500)).await;
        assert!(once().await?, "{wrong}");
    }
    running.stop().await;
    Ok(())
}

#[tokio::test]
async fn the_figures_show_what_was_decided_about_calls() -> Done {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("outrigger.toml");
    std::fs::write(
        &file,
        "[calls.stock-service]\nretry = { backoff = \"1ms\" }\nretry_budget = { least = 1, window = \"1s\" }\nbreaker = { failures = 3, recovery = \"1m\", recovery_limit = \"1m\" }\noutlier = { most = 1.0 }\n",
    )?;
    let asked = Arc::new(AtomicUsize::new(0));
    let running = start(folder.path(), &file, &asked).await?;
    for _ in 0..10 {
        heard(&running).await?;
    }
    let find = |name: &str| {
        running
            .services()
            .iter()
            .find(|one| one.name() == name)
            .ok_or("runs")
    };
    let (order, stock) = (find("order-service")?, find("stock-service")?);
    let figures = outrigger::GatewayClient::new(order.address())
        .get("/metrics")
        .await?;
    let figures = figures.body.as_str().ok_or("text")?.to_owned();
    let labels = r#"service="order-service",server_address="stock-service""#;
    for line in [
        "http_client_request_duration_seconds_count{service=\"order-service\",http_request_method=\"GET\",server_address=\"stock-service\",http_response_status_code=\"503\"".to_owned(),
        format!("outrigger_call_decisions_total{{{labels},call=\"\",decision=\"retried\"}}"),
        format!(
            "outrigger_call_decisions_total{{{labels},call=\"\",decision=\"retry-refused-budget\"}}"
        ),
        format!(
            "outrigger_call_decisions_total{{{labels},call=\"\",decision=\"breaker-opened\"}} 1"
        ),
        format!(
            "outrigger_circuit_breaker_state{{{labels},instance=\"{}\"}} 2",
            stock.address()
        ),
    ] {
        assert!(figures.contains(&line), "{line}\n{figures}");
    }
    running.stop().await;
    Ok(())
}

#[tokio::test]
async fn calls_of_a_service_that_is_not_there_are_refused_at_the_start() -> Done {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("outrigger.toml");
    std::fs::write(&file, "[calls.stok-service]\nretry = false")?;
    let error = start(folder.path(), &file, &Arc::default())
        .await
        .err()
        .ok_or("refused")?;
    let error = error.downcast::<Error>()?;
    assert_eq!(
        error.to_string(),
        "`calls.stok-service` in the settings names no service of the system; did you mean `calls.stock-service`?"
    );
    Ok(())
}
