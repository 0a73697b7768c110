"""First schema: market data, signals, orders and the journal, with their roles.

Revision 0001.

Types  prices NUMERIC(18,9), which holds a ZN tick of 1/64; sizes BIGINT; money BIGINT micro-dollars; times timestamptz for
       people and BIGINT nanoseconds for programs.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MARKET_TABLES = """
CREATE TABLE market_data (
    symbol text NOT NULL,
    ts timestamptz NOT NULL,
    event_ts_ns bigint NOT NULL,
    recv_ts_ns bigint NOT NULL,
    seq bigint NOT NULL,
    kind smallint NOT NULL,
    bid_price numeric(18,9),
    ask_price numeric(18,9),
    last_price numeric(18,9),
    bid_size bigint,
    ask_size bigint,
    last_size bigint,
    aggressor smallint,
    PRIMARY KEY (symbol, ts, seq)
) PARTITION BY RANGE (ts);
CREATE TABLE market_data_default PARTITION OF market_data DEFAULT;
CREATE INDEX market_data_ts_brin ON market_data USING brin (ts);

CREATE TABLE bars (
    symbol text NOT NULL,
    timeframe text NOT NULL,
    ts_open timestamptz NOT NULL,
    open numeric(18,9) NOT NULL,
    high numeric(18,9) NOT NULL,
    low numeric(18,9) NOT NULL,
    close numeric(18,9) NOT NULL,
    volume bigint NOT NULL CHECK (volume >= 0),
    vwap numeric,
    n_trades bigint NOT NULL CHECK (n_trades >= 0),
    PRIMARY KEY (symbol, timeframe, ts_open),
    CHECK (low <= open AND low <= close AND high >= open AND high >= close)
);

CREATE TABLE data_quality (
    symbol text NOT NULL,
    reason text NOT NULL,
    n bigint NOT NULL CHECK (n >= 0),
    first_ts_ns bigint NOT NULL,
    last_ts_ns bigint NOT NULL,
    PRIMARY KEY (symbol, reason)
);
"""

SIGNAL_TABLES = """
CREATE TABLE ml_predictions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    symbol text NOT NULL,
    model_name text NOT NULL,
    model_version text NOT NULL,
    prediction_time timestamptz NOT NULL,
    target_time timestamptz NOT NULL,
    predicted_direction smallint NOT NULL,
    predicted_price numeric(18,9),
    confidence double precision NOT NULL CHECK (confidence BETWEEN 0 AND 1),
    probabilities jsonb NOT NULL,
    actual_price numeric(18,9),
    accuracy_score double precision,
    input_ts_ns bigint NOT NULL,
    seq bigint NOT NULL,
    UNIQUE (symbol, model_name, seq)
);
CREATE INDEX ml_predictions_time ON ml_predictions (symbol, prediction_time);

CREATE TABLE trading_signals (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    signal_id text NOT NULL UNIQUE,
    symbol text NOT NULL,
    signal_type text NOT NULL CHECK (signal_type IN ('BUY', 'SELL')),
    tier text NOT NULL,
    confidence double precision NOT NULL CHECK (confidence BETWEEN 0 AND 1),
    expectancy_micros bigint NOT NULL,
    entry_price numeric(18,9) NOT NULL,
    stop_loss numeric(18,9) NOT NULL,
    take_profit numeric(18,9) NOT NULL,
    risk_reward double precision NOT NULL,
    status text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    model_version text NOT NULL,
    input_ts_ns bigint NOT NULL,
    evidence_id text
);
CREATE INDEX trading_signals_time ON trading_signals (symbol, created_at);

CREATE TABLE model_versions (
    model_name text NOT NULL,
    model_version text NOT NULL,
    artefact_sha256 text NOT NULL CHECK (artefact_sha256 ~ '^[0-9a-f]{64}$'),
    feature_hash text NOT NULL,
    stage text NOT NULL,
    card jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    approved_by text,
    PRIMARY KEY (model_name, model_version)
);
"""

ORDER_TABLES = """
CREATE TABLE accounts (
    account text PRIMARY KEY,
    currency text NOT NULL,
    initial_micros bigint NOT NULL,
    cash_micros bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE orders (
    account text NOT NULL,
    cid text NOT NULL,
    symbol text NOT NULL,
    side smallint NOT NULL CHECK (side IN (-1, 1)),
    qty bigint NOT NULL CHECK (qty > 0),
    order_type text NOT NULL,
    limit_price numeric(18,9),
    state text NOT NULL,
    cum_qty bigint NOT NULL DEFAULT 0 CHECK (cum_qty >= 0),
    signal_id text,
    created_ts_ns bigint NOT NULL,
    updated_ts_ns bigint NOT NULL,
    PRIMARY KEY (account, cid)
);
CREATE INDEX orders_state ON orders (account, state);

CREATE TABLE order_events (
    account text NOT NULL,
    seq bigint NOT NULL,
    cid text NOT NULL,
    ts_ns bigint NOT NULL,
    state text NOT NULL,
    detail jsonb NOT NULL,
    PRIMARY KEY (account, seq)
);
CREATE INDEX order_events_cid ON order_events (account, cid);

CREATE TABLE fills (
    account text NOT NULL,
    exec_id text NOT NULL,
    cid text NOT NULL,
    symbol text NOT NULL,
    side smallint NOT NULL CHECK (side IN (-1, 1)),
    qty bigint NOT NULL CHECK (qty > 0),
    price numeric(18,9) NOT NULL,
    price_ticks bigint NOT NULL,
    fee_micros bigint NOT NULL,
    exec_ts_ns bigint NOT NULL,
    liquidity text NOT NULL,
    PRIMARY KEY (account, exec_id)
);
CREATE INDEX fills_time ON fills (account, exec_ts_ns);

CREATE TABLE positions (
    account text NOT NULL,
    symbol text NOT NULL,
    qty bigint NOT NULL,
    realised_micros bigint NOT NULL,
    fees_micros bigint NOT NULL,
    updated_ts_ns bigint NOT NULL,
    PRIMARY KEY (account, symbol)
);

CREATE TABLE equity (
    account text NOT NULL,
    ts_ns bigint NOT NULL,
    equity_micros bigint NOT NULL,
    cash_micros bigint NOT NULL,
    drawdown_bps bigint NOT NULL,
    PRIMARY KEY (account, ts_ns)
);

CREATE TABLE risk_events (
    account text NOT NULL,
    seq bigint NOT NULL,
    ts_ns bigint NOT NULL,
    code text NOT NULL,
    symbol text,
    figure bigint,
    limit_value bigint,
    detail jsonb NOT NULL,
    PRIMARY KEY (account, seq)
);
"""

JOURNAL_TABLES = """
CREATE TABLE journal (
    account text NOT NULL,
    seq bigint NOT NULL CHECK (seq > 0),
    epoch bigint NOT NULL CHECK (epoch > 0),
    ts_ns bigint NOT NULL,
    kind text NOT NULL,
    schema integer NOT NULL,
    cid text,
    body bytea NOT NULL,
    prev_hash bytea NOT NULL,
    crc bigint NOT NULL,
    PRIMARY KEY (account, seq)
);
CREATE UNIQUE INDEX journal_intent_cid ON journal (account, cid) WHERE kind = 'INTENT';

CREATE FUNCTION journal_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'journal is append-only: % refused', TG_OP USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER journal_no_change BEFORE UPDATE OR DELETE ON journal FOR EACH ROW EXECUTE FUNCTION journal_is_append_only();
CREATE TRIGGER journal_no_truncate BEFORE TRUNCATE ON journal FOR EACH STATEMENT EXECUTE FUNCTION journal_is_append_only();
-- "ALWAYS" holds under session_replication_role = replica too, which would silence an ordinary trigger
ALTER TABLE journal ENABLE ALWAYS TRIGGER journal_no_change;
ALTER TABLE journal ENABLE ALWAYS TRIGGER journal_no_truncate;

CREATE TABLE snapshots (
    account text NOT NULL,
    seq bigint NOT NULL,
    schema integer NOT NULL,
    state bytea NOT NULL,
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account, seq)
);

CREATE TABLE leases (
    account text PRIMARY KEY,
    epoch bigint NOT NULL CHECK (epoch >= 0),
    holder text NOT NULL,
    expires timestamptz NOT NULL
);
"""

CONTEXT_TABLES = """
CREATE TABLE economic_events (
    event_id text PRIMARY KEY,
    ts timestamptz NOT NULL,
    country text NOT NULL,
    name text NOT NULL,
    importance smallint NOT NULL,
    previous numeric,
    forecast numeric,
    actual numeric,
    source text NOT NULL
);
CREATE INDEX economic_events_ts ON economic_events (ts);

CREATE TABLE news (
    news_id text PRIMARY KEY,
    published_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    source text NOT NULL,
    title text NOT NULL,
    url text,
    symbols text[] NOT NULL DEFAULT '{}',
    sentiment double precision,
    model_version text
);
CREATE INDEX news_published ON news (published_at);

CREATE TABLE social_posts (
    post_id text PRIMARY KEY,
    published_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    source text NOT NULL,
    author_hash text NOT NULL,
    body text NOT NULL,
    symbols text[] NOT NULL DEFAULT '{}',
    sentiment double precision,
    model_version text
);
CREATE INDEX social_posts_published ON social_posts (published_at);

CREATE TABLE correlations (
    symbol_a text NOT NULL,
    symbol_b text NOT NULL,
    ts timestamptz NOT NULL,
    window_s integer NOT NULL CHECK (window_s > 0),
    correlation double precision NOT NULL CHECK (correlation BETWEEN -1 AND 1),
    n bigint NOT NULL,
    PRIMARY KEY (symbol_a, symbol_b, window_s, ts),
    CHECK (symbol_a < symbol_b)
);

CREATE TABLE reports (
    report_id text PRIMARY KEY,
    kind text NOT NULL,
    period_start timestamptz NOT NULL,
    period_end timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    summary jsonb NOT NULL,
    location text,
    CHECK (period_start <= period_end)
);
"""

# SECURITY DEFINER: a processor may ask for a day's partition and still may not create tables. The advisory lock makes
# concurrent calls for one day wait, not fail. A partition over rows of the default one would be refused, so they move.
PARTITION_FUNCTION = """
CREATE FUNCTION ensure_market_data_partition(day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    part text := 'market_data_p' || to_char(day, 'YYYYMMDD');
    lower_ts timestamptz := day::timestamp AT TIME ZONE 'UTC';
    upper_ts timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
BEGIN
    IF to_regclass(part) IS NOT NULL THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('market_data partitions'));
    IF to_regclass(part) IS NOT NULL THEN
        RETURN false;
    END IF;
    LOCK TABLE market_data_default IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('CREATE TABLE %I (LIKE market_data INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', part);
    EXECUTE format(
        'WITH moved AS (DELETE FROM market_data_default WHERE ts >= $1 AND ts < $2 RETURNING *) INSERT INTO %I SELECT * FROM moved', part
    ) USING lower_ts, upper_ts;
    EXECUTE format('ALTER TABLE market_data ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', part, lower_ts, upper_ts);
    RETURN true;
END $$;
"""

# Group roles hold the rights; tidemark_app, the user of every program, is a member. It has no password until one is set
# beside its secret. Roles belong to the whole server, so they may exist already.
ROLES = """
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['tidemark_processor', 'tidemark_execution', 'tidemark_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        END IF;
    END LOOP;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tidemark_app') THEN
        CREATE ROLE tidemark_app LOGIN;
    END IF;
END $$;
GRANT tidemark_processor, tidemark_execution, tidemark_reader TO tidemark_app;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO tidemark_processor, tidemark_execution, tidemark_reader;
REVOKE EXECUTE ON FUNCTION ensure_market_data_partition(date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_market_data_partition(date) TO tidemark_processor;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO tidemark_reader;
GRANT SELECT, INSERT, UPDATE ON
    market_data, bars, data_quality, ml_predictions, trading_signals, economic_events, news, social_posts, correlations
    TO tidemark_processor;
GRANT SELECT ON model_versions TO tidemark_processor;
GRANT SELECT, INSERT, UPDATE ON accounts, orders, positions, leases TO tidemark_execution;
GRANT SELECT, INSERT ON journal, snapshots, order_events, fills, equity, risk_events TO tidemark_execution;
GRANT SELECT ON market_data, bars, ml_predictions, model_versions, economic_events, data_quality TO tidemark_execution;
GRANT SELECT, UPDATE ON trading_signals TO tidemark_execution;
"""

TABLES = (
    *("market_data", "bars", "data_quality", "ml_predictions", "trading_signals", "model_versions", "accounts", "orders", "order_events"),
    *("fills", "positions", "equity", "risk_events", "journal", "snapshots", "leases"),
    *("economic_events", "news", "social_posts", "correlations", "reports"),
)


def upgrade() -> None:
    """Create everything; one transaction."""
    for block in (MARKET_TABLES, SIGNAL_TABLES, ORDER_TABLES, JOURNAL_TABLES, CONTEXT_TABLES, PARTITION_FUNCTION, ROLES):
        _run(block)


def downgrade() -> None:
    """Drop everything but the roles, which other databases of the server may use. Loses all data."""
    _run("DROP FUNCTION ensure_market_data_partition(date)")
    _run("DROP TABLE " + ", ".join(TABLES))
    _run("DROP FUNCTION journal_is_append_only()")


def _run(sql: str) -> None:
    # straight to psycopg: SQLAlchemy would pass parameters, and with them neither many statements nor a lone `%` are allowed
    connection = op.get_bind().connection.driver_connection
    assert connection is not None
    connection.execute(sql)
