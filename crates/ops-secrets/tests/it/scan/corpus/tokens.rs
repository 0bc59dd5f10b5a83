//! Tokens as their issuers describe them, written down without a look at the scanner's tables.

use super::rng::{Rng, base64, github_checksum};

/// A kind of token: its name, and how one is made.
pub(crate) type Maker = (&'static str, fn(&mut Rng) -> String);

pub(crate) fn github(rng: &mut Rng) -> String {
    let body = rng.an(30);
    let kind = rng.pick(&["p", "o", "u", "s", "r"]);
    format!("gh{kind}_{body}{}", github_checksum(&body))
}

pub(crate) const MAKERS: [Maker; 80] = [
    ("github", github),
    ("github-fine", |r| format!("github_pat_{}_{}", r.an(22), r.an(59))),
    ("gitlab", |r| format!("glpat-{}", r.url(20))),
    ("gitlab-deploy", |r| format!("gldt-{}", r.url(20))),
    ("gitlab-runner", |r| format!("glrt-{}", r.url(20))),
    ("gitlab-trigger", |r| format!("glptt-{}", r.hex(40))),
    ("bitbucket", |r| format!("ATBB{}", r.an(32))),
    ("npm", |r| format!("npm_{}", r.an(36))),
    ("pypi", |r| format!("pypi-AgEIcHlwaS5vcmc{}", r.url(150))),
    ("rubygems", |r| format!("rubygems_{}", r.hex(48))),
    ("crates", |r| format!("cio{}", r.an(32))),
    ("docker", |r| format!("dckr_pat_{}", r.url(27))),
    ("circleci", |r| format!("CCIPAT_{}_{}", r.an(22), r.hex(40))),
    ("buildkite", |r| format!("bkua_{}", r.hex(40))),
    ("sonar", |r| format!("squ_{}", r.hex(40))),
    ("terraform", |r| format!("{}.atlasv1.{}", r.an(14), r.url(67))),
    ("pulumi", |r| format!("pul-{}", r.hex(40))),
    ("vault", |r| format!("hvs.{}", r.url(95))),
    ("doppler", |r| format!("dp.pt.{}", r.an(43))),
    ("postman", |r| format!("PMAK-{}-{}", r.hex(24), r.hex(34))),
    ("aws-id", |r| format!("AKIA{}", r.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16))),
    ("google-api", |r| format!("AIza{}", r.url(35))),
    ("google-oauth", |r| format!("GOCSPX-{}", r.url(28))),
    ("google-access", |r| format!("ya29.{}", r.url(160))),
    ("azure-storage", |r| {
        format!("DefaultEndpointsProtocol=https;AccountName=acme;AccountKey={}==", r.b64(86))
    }),
    ("azure-client", |r| format!("{}8Q~{}", r.an(3), r.an(34))),
    ("azure-devops", |r| format!("{}AZDO{}", r.an(76), r.an(4))),
    ("alibaba-id", |r| format!("LTAI{}", r.an(20))),
    ("digitalocean", |r| format!("dop_v1_{}", r.hex(64))),
    ("heroku", |r| format!("HRKU-{}", r.uuid())),
    ("netlify", |r| format!("nfp_{}", r.an(36))),
    ("render", |r| format!("rnd_{}", r.an(32))),
    ("tailscale", |r| format!("tskey-auth-{}CNTRL-{}", r.an(12), r.an(32))),
    ("databricks", |r| format!("dapi{}", r.hex(32))),
    ("planetscale", |r| format!("pscale_tkn_{}", r.url(43))),
    ("neon", |r| format!("napi_{}", r.low(64))),
    ("supabase", |r| format!("sbp_{}", r.hex(40))),
    ("openai", |r| format!("sk-proj-{}T3BlbkFJ{}", r.url(74), r.url(74))),
    ("openai-old", |r| format!("sk-{}T3BlbkFJ{}", r.an(20), r.an(20))),
    ("anthropic", |r| format!("sk-ant-api03-{}AA", r.url(93))),
    ("huggingface", |r| format!("hf_{}", r.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", 34))),
    ("groq", |r| format!("gsk_{}", r.an(52))),
    ("xai", |r| format!("xai-{}", r.an(80))),
    ("replicate", |r| format!("r8_{}", r.an(37))),
    ("perplexity", |r| format!("pplx-{}", r.an(48))),
    ("openrouter", |r| format!("sk-or-v1-{}", r.hex(64))),
    ("nvidia", |r| format!("nvapi-{}", r.url(64))),
    ("langsmith", |r| format!("lsv2_pt_{}_{}", r.hex(32), r.hex(10))),
    ("stripe", |r| format!("sk_live_{}", r.an(24))),
    ("stripe-long", |r| format!("rk_live_{}", r.an(99))),
    ("stripe-webhook", |r| format!("whsec_{}", r.an(32))),
    ("square", |r| format!("sq0csp-{}", r.url(43))),
    ("flutterwave", |r| format!("FLWSECK-{}-X", r.hex(32))),
    ("plaid", |r| format!("access-production-{}", r.uuid())),
    ("shopify", |r| format!("shpat_{}", r.hex(32))),
    ("easypost", |r| format!("EZAK{}", r.an(54))),
    ("slack-bot", |r| format!("xoxb-{}-{}-{}", r.num(12), r.num(13), r.an(24))),
    ("slack-user", |r| format!("xoxp-{}-{}-{}-{}", r.num(12), r.num(12), r.num(13), r.hex(32))),
    ("slack-hook", |r| format!("https://hooks.slack.com/services/T{}/B{}/{}", r.up(10), r.up(10), r.an(24))),
    ("discord-hook", |r| format!("https://discord.com/api/webhooks/{}/{}", r.num(19), r.url(68))),
    ("telegram", |r| format!("{}:AA{}", r.num(10), r.url(33))),
    ("twilio", |r| format!("SK{}", r.hex(32))),
    ("sendgrid", |r| format!("SG.{}.{}", r.url(22), r.url(43))),
    ("mailgun", |r| format!("key-{}", r.hex(32))),
    ("mailchimp", |r| format!("{}-us{}", r.hex(32), r.num(2))),
    ("brevo", |r| format!("xkeysib-{}-{}", r.hex(64), r.an(16))),
    ("grafana", |r| format!("glsa_{}_{}", r.an(32), r.hex(8))),
    ("newrelic", |r| format!("NRAK-{}", r.up(27))),
    ("sentry", |r| format!("sntryu_{}", r.hex(64))),
    ("dynatrace", |r| format!("dt0c01.{}.{}", r.up(24), r.up(64))),
    ("honeycomb", |r| format!("hcaik_{}", r.low(58))),
    ("posthog", |r| format!("phx_{}", r.an(43))),
    ("notion", |r| format!("ntn_{}{}", r.num(11), r.an(35))),
    ("airtable", |r| format!("pat{}.{}", r.an(14), r.hex(64))),
    ("linear", |r| format!("lin_api_{}", r.an(40))),
    ("figma", |r| format!("figd_{}", r.url(40))),
    ("contentful", |r| format!("CFPAT-{}", r.url(43))),
    ("hubspot", |r| format!("pat-na1-{}", r.uuid())),
    ("apify", |r| format!("apify_api_{}", r.an(36))),
    ("grafana-cloud", |r| {
        let json = format!("{{\"o\":\"{}\",\"n\":\"stack-{}\",\"k\":\"{}\"}}", r.num(6), r.num(4), r.an(24));
        format!("glc_{}", base64(json.as_bytes()))
    }),
];

/// Values that only the name of their issuer makes a token: variable and value.
pub(crate) type Named = (&'static str, fn(&mut Rng) -> String);

pub(crate) const NAMED: [Named; 24] = [
    ("AWS_SECRET_ACCESS_KEY", |r| r.b64(40)),
    ("DATADOG_API_KEY", |r| r.hex(32)),
    ("DD_APP_KEY", |r| r.hex(40)),
    ("TWILIO_AUTH_TOKEN", |r| r.hex(32)),
    ("CLOUDFLARE_API_TOKEN", |r| r.url(40)),
    ("HEROKU_API_KEY", |r| r.uuid()),
    ("FASTLY_API_TOKEN", |r| r.url(32)),
    ("ALGOLIA_ADMIN_KEY", |r| r.hex(32)),
    ("LINODE_TOKEN", |r| r.hex(64)),
    ("HCLOUD_TOKEN", |r| r.an(64)),
    ("COHERE_API_KEY", |r| r.an(40)),
    ("MISTRAL_API_KEY", |r| r.an(32)),
    ("WANDB_API_KEY", |r| r.hex(40)),
    ("ROLLBAR_ACCESS_TOKEN", |r| r.hex(32)),
    ("SENTRY_AUTH_TOKEN", |r| r.hex(64)),
    ("CIRCLECI_TOKEN", |r| r.hex(40)),
    ("SNYK_TOKEN", |r| r.uuid()),
    ("SPOTIFY_CLIENT_SECRET", |r| r.hex(32)),
    ("TWITTER_API_SECRET", |r| r.an(50)),
    ("FACEBOOK_APP_SECRET", |r| r.hex(32)),
    ("OKTA_API_TOKEN", |r| format!("00{}", r.url(40))),
    ("POSTMARK_SERVER_TOKEN", |r| r.uuid()),
    ("INFLUX_TOKEN", |r| format!("{}==", r.url(86))),
    ("AZURE_OPENAI_API_KEY", |r| r.hex(32)),
];

/// The variable that a developer would give a token.
pub(crate) fn variable(rng: &mut Rng) -> &'static str {
    rng.pick(&[
        "API_TOKEN",
        "SERVICE_KEY",
        "AUTH_TOKEN",
        "CLIENT_SECRET",
        "ACCESS_TOKEN",
        "TOKEN",
        "apiKey",
        "credentials",
    ])
}
