-- What a MySQL is asked to log for the corpora: the forms of groups, and of rows.
CREATE DATABASE fuzz;
USE fuzz;
CREATE TABLE documents (id BIGINT PRIMARY KEY, j JSON, n JSON, k JSON);
CREATE TABLE small (id BIGINT PRIMARY KEY, a VARCHAR(20), b INT UNSIGNED, c DATETIME(3));
INSERT INTO small VALUES (1, 'one', 1, '2026-01-02 03:04:05.678'), (2, NULL, NULL, NULL);

-- Partial JSON updates.
SET binlog_row_value_options = PARTIAL_JSON;
INSERT INTO documents VALUES
  (1, '{"a": 1, "bb": [1, 2, {"c d": "text that is long enough"}], "e": null}', NULL, NULL),
  (2, '[1, "two", 3.5, true, {"x": {"y": {"z": []}}}, "some more text, so that a part pays"]', NULL, NULL);
UPDATE documents SET j = JSON_SET(j, '$.a', 2) WHERE id = 1;
UPDATE documents SET j = JSON_REPLACE(j, '$.bb[2]."c d"', 'other') WHERE id = 1;
UPDATE documents SET j = JSON_REMOVE(j, '$.e', '$.bb[0]') WHERE id = 1;
UPDATE documents SET j = JSON_SET(j, '$.bb[7]', 'new', '$."odd\\"name"', 1.25) WHERE id = 1;
UPDATE documents SET j = JSON_SET(j, '$[4].x.y.z[0]', CAST('{"deep": [1]}' AS JSON)) WHERE id = 2;
UPDATE documents SET j = JSON_REMOVE(JSON_SET(j, '$[0]', -1), '$[1]') WHERE id = 2;
SET binlog_row_value_options = '';

-- Images, and what stands beside rows.
SET binlog_row_image = MINIMAL;
UPDATE small SET a = 'two' WHERE id = 2;
DELETE FROM small WHERE id = 2;
SET binlog_row_image = FULL, binlog_rows_query_log_events = ON;
INSERT INTO small VALUES (3, 'three', 3, NULL);
SET binlog_rows_query_log_events = OFF;

-- Compressed transactions.
SET binlog_transaction_compression = ON;
INSERT INTO small VALUES (4, 'four', 4, NULL);
BEGIN;
INSERT INTO small VALUES (5, 'five', 5, NULL), (6, 'six', 6, NULL), (7, 'six', 6, NULL);
UPDATE small SET b = b + 1 WHERE id > 3;
DELETE FROM small WHERE id = 6;
COMMIT;
SET binlog_transaction_compression = OFF;

-- Groups.
BEGIN;
INSERT INTO small VALUES (8, 'eight', 8, NULL);
SAVEPOINT `a ``b`;
INSERT INTO small VALUES (9, 'nine', 9, NULL);
ROLLBACK TO `a ``b`;
COMMIT;
XA START 'one', 'branch', 7;
INSERT INTO small VALUES (10, 'ten', 10, NULL);
XA END 'one', 'branch', 7;
XA PREPARE 'one', 'branch', 7;
XA COMMIT 'one', 'branch', 7;
XA START X'00ff';
INSERT INTO small VALUES (11, 'eleven', 11, NULL);
XA END X'00ff';
XA PREPARE X'00ff';
XA ROLLBACK X'00ff';
XA START 'both';
INSERT INTO small VALUES (12, 'twelve', 12, NULL);
XA END 'both';
XA COMMIT 'both' ONE PHASE;
SET binlog_format = STATEMENT;
INSERT INTO small VALUES (13, CONCAT('thir', 'teen'), 13, NOW(3));
SET @a = 'user variable';
UPDATE small SET a = @a WHERE id = 13;
SET binlog_format = ROW;
CREATE TABLE copied AS SELECT * FROM small WHERE id < 5;
ALTER TABLE small ADD COLUMN d SET('x', 'y'), ADD COLUMN e ENUM('p', 'q') DEFAULT 'q';
TRUNCATE TABLE copied;
DROP TABLE copied;
